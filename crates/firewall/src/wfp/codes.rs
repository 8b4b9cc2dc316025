//! What Windows' error codes say about a call to the filter engine.

use super::filter_engine::{EngineFault, ObjectKind};

/// Codes that are not refusals by the filter engine's rules.
const ACCESS_DENIED: u32 = 5;
const FILE_NOT_FOUND: u32 = 2;
const PATH_NOT_FOUND: u32 = 3;
/// The service does not run, or its endpoint is not there yet: `ERROR_SERVICE_NOT_ACTIVE`,
/// `RPC_S_SERVER_UNAVAILABLE`, `RPC_S_UNKNOWN_IF`, `EPT_S_NOT_REGISTERED`.
const NOT_RUNNING: [u32; 4] = [1062, 1722, 1717, 1753];
/// The service went away: `RPC_S_CALL_FAILED`, `RPC_S_CALL_FAILED_DNE`, `RPC_X_SS_IN_NULL_CONTEXT`,
/// `RPC_X_SS_CONTEXT_MISMATCH`.
const SESSION_ENDED: [u32; 4] = [1726, 1727, 1775, 6];

/// The names of `FWP_E_…`, from 0x80320001 on.
const NAMES: [&str; 57] = [
    "FWP_E_CALLOUT_NOT_FOUND",
    "FWP_E_CONDITION_NOT_FOUND",
    "FWP_E_FILTER_NOT_FOUND",
    "FWP_E_LAYER_NOT_FOUND",
    "FWP_E_PROVIDER_NOT_FOUND",
    "FWP_E_PROVIDER_CONTEXT_NOT_FOUND",
    "FWP_E_SUBLAYER_NOT_FOUND",
    "FWP_E_NOT_FOUND",
    "FWP_E_ALREADY_EXISTS",
    "FWP_E_IN_USE",
    "FWP_E_DYNAMIC_SESSION_IN_PROGRESS",
    "FWP_E_WRONG_SESSION",
    "FWP_E_NO_TXN_IN_PROGRESS",
    "FWP_E_TXN_IN_PROGRESS",
    "FWP_E_TXN_ABORTED",
    "FWP_E_SESSION_ABORTED",
    "FWP_E_INCOMPATIBLE_TXN",
    "FWP_E_TIMEOUT",
    "FWP_E_NET_EVENTS_DISABLED",
    "FWP_E_INCOMPATIBLE_LAYER",
    "FWP_E_KM_CLIENTS_ONLY",
    "FWP_E_LIFETIME_MISMATCH",
    "FWP_E_BUILTIN_OBJECT",
    "FWP_E_TOO_MANY_CALLOUTS",
    "FWP_E_NOTIFICATION_DROPPED",
    "FWP_E_TRAFFIC_MISMATCH",
    "FWP_E_INCOMPATIBLE_SA_STATE",
    "FWP_E_NULL_POINTER",
    "FWP_E_INVALID_ENUMERATOR",
    "FWP_E_INVALID_FLAGS",
    "FWP_E_INVALID_NET_MASK",
    "FWP_E_INVALID_RANGE",
    "FWP_E_INVALID_INTERVAL",
    "FWP_E_ZERO_LENGTH_ARRAY",
    "FWP_E_NULL_DISPLAY_NAME",
    "FWP_E_INVALID_ACTION_TYPE",
    "FWP_E_INVALID_WEIGHT",
    "FWP_E_MATCH_TYPE_MISMATCH",
    "FWP_E_TYPE_MISMATCH",
    "FWP_E_OUT_OF_BOUNDS",
    "FWP_E_RESERVED",
    "FWP_E_DUPLICATE_CONDITION",
    "FWP_E_DUPLICATE_KEYMOD",
    "FWP_E_ACTION_INCOMPATIBLE_WITH_LAYER",
    "FWP_E_ACTION_INCOMPATIBLE_WITH_SUBLAYER",
    "FWP_E_CONTEXT_INCOMPATIBLE_WITH_LAYER",
    "FWP_E_CONTEXT_INCOMPATIBLE_WITH_CALLOUT",
    "FWP_E_INCOMPATIBLE_AUTH_METHOD",
    "FWP_E_INCOMPATIBLE_DH_GROUP",
    "FWP_E_EM_NOT_SUPPORTED",
    "FWP_E_NEVER_MATCH",
    "FWP_E_PROVIDER_CONTEXT_MISMATCH",
    "FWP_E_INVALID_PARAMETER",
    "FWP_E_TOO_MANY_SUBLAYERS",
    "FWP_E_CALLOUT_NOTIFICATION_FAILED",
    "FWP_E_INVALID_AUTH_TRANSFORM",
    "FWP_E_INVALID_CIPHER_TRANSFORM",
];
const FIRST: u32 = 0x8032_0001;

/// The code of `FWP_E_NO_TXN_IN_PROGRESS`: an abort found nothing to abort.
pub const NO_TRANSACTION: u32 = 0x8032_000d;

/// What a code says; `kind` is what was looked for, where the code does not tell.
#[must_use]
pub fn fault(code: u32, kind: ObjectKind) -> EngineFault {
    match code {
        ACCESS_DENIED => return EngineFault::AccessDenied,
        FILE_NOT_FOUND | PATH_NOT_FOUND => return EngineFault::NoSuchFile,
        code if NOT_RUNNING.contains(&code) => return EngineFault::NotRunning,
        code if SESSION_ENDED.contains(&code) => return EngineFault::SessionEnded,
        _ => {}
    }
    let name = code.checked_sub(FIRST).and_then(|at| NAMES.get(usize::try_from(at).ok()?));
    match name.copied() {
        Some("FWP_E_ALREADY_EXISTS") => EngineFault::AlreadyExists,
        Some("FWP_E_IN_USE") => EngineFault::InUse,
        Some("FWP_E_LIFETIME_MISMATCH") => EngineFault::LifetimeMismatch,
        Some("FWP_E_FILTER_NOT_FOUND") => EngineFault::NotFound(ObjectKind::Filter),
        Some("FWP_E_PROVIDER_NOT_FOUND") => EngineFault::NotFound(ObjectKind::Provider),
        Some("FWP_E_SUBLAYER_NOT_FOUND") => EngineFault::NotFound(ObjectKind::SubLayer),
        Some("FWP_E_NOT_FOUND") => EngineFault::NotFound(kind),
        Some("FWP_E_TIMEOUT") => EngineFault::TimedOut,
        Some("FWP_E_TXN_ABORTED") => EngineFault::TransactionCancelled,
        Some("FWP_E_SESSION_ABORTED") => EngineFault::SessionEnded,
        name => EngineFault::Other { code, name: name.unwrap_or("an error of Windows").to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_suggest_a_remedy() {
        for (code, kind, wanted) in [
            (0x8032_0003, ObjectKind::Provider, EngineFault::NotFound(ObjectKind::Filter)),
            (0x8032_0005, ObjectKind::Filter, EngineFault::NotFound(ObjectKind::Provider)),
            (0x8032_0007, ObjectKind::Filter, EngineFault::NotFound(ObjectKind::SubLayer)),
            (0x8032_0008, ObjectKind::SubLayer, EngineFault::NotFound(ObjectKind::SubLayer)),
            (0x8032_0009, ObjectKind::Filter, EngineFault::AlreadyExists),
            (0x8032_000a, ObjectKind::Filter, EngineFault::InUse),
            (0x8032_000f, ObjectKind::Filter, EngineFault::TransactionCancelled),
            (0x8032_0010, ObjectKind::Filter, EngineFault::SessionEnded),
            (0x8032_0012, ObjectKind::Filter, EngineFault::TimedOut),
            (0x8032_0016, ObjectKind::Filter, EngineFault::LifetimeMismatch),
            (5, ObjectKind::Filter, EngineFault::AccessDenied),
            (1753, ObjectKind::Filter, EngineFault::NotRunning),
            (1726, ObjectKind::Filter, EngineFault::SessionEnded),
        ] {
            assert_eq!(fault(code, kind), wanted, "{code:#x}");
        }
        let said = |code| fault(code, ObjectKind::Filter).to_string();
        assert!(said(0x8032_0039).contains("FWP_E_INVALID_CIPHER_TRANSFORM (0x80320039)"));
        assert!(said(0x8032_000d).contains("FWP_E_NO_TXN_IN_PROGRESS"), "{}", said(NO_TRANSACTION));
        assert!(said(0x8032_003a).contains("an error of Windows (0x8032003a)"));
        assert!(said(87).contains("0x00000057"));
    }
}
