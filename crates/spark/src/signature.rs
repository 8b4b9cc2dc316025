//! `ctspark verify`: the program's own signature.

use std::process::ExitCode;

use serde_json::json;
use xshield_enforce::windows::signature::{
    Distrust, Signature, needs_update_for_sha2, own_signature,
};

use crate::show;

/// Prints who signed this program; fails unless Windows trusts that signature.
pub(crate) fn verify(as_json: bool) -> ExitCode {
    let signature = match own_signature() {
        Ok(signature) => signature,
        Err(error) => {
            show::error(&error, as_json);
            return ExitCode::from(1);
        }
    };
    if as_json {
        show::json(&in_json(&signature));
    } else {
        show::signature(&in_words(&signature));
    }
    match signature {
        Signature::Valid { .. } => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

fn in_json(signature: &Signature) -> serde_json::Value {
    match signature {
        Signature::None => json!({ "signature": "none" }),
        Signature::Changed => json!({ "signature": "changed" }),
        Signature::Untrusted { signer, .. } => {
            json!({ "signature": "untrusted", "signer": signer, "reason": in_words(signature) })
        }
        Signature::Valid { signer } => json!({ "signature": "valid", "signer": signer }),
    }
}

fn in_words(signature: &Signature) -> String {
    let named = |signer: &Option<String>| {
        signer.clone().unwrap_or_else(|| "a signer without a name".to_owned())
    };
    let text = match signature {
        Signature::Valid { signer } => {
            return format!("signed by {}, unchanged, and trusted by this Windows", named(signer));
        }
        Signature::None => "not signed".to_owned(),
        Signature::Changed => {
            "changed after it was signed: do not run it; install it again".to_owned()
        }
        Signature::Untrusted { signer, reason } => {
            let reason = match reason {
                Distrust::UnknownAuthority => "its authority is not trusted here; add its root certificate to the trusted root authorities".to_owned(),
                Distrust::Expired => "its certificate has expired, and the signature has no timestamp".to_owned(),
                Distrust::Revoked => "its certificate is revoked or distrusted".to_owned(),
                Distrust::Other(code) => format!("error {code:#010x}"),
            };
            format!("signed by {}, but not trusted by this Windows: {reason}", named(signer))
        }
    };
    if needs_update_for_sha2() {
        return format!(
            "{text}. This Windows verifies signatures with SHA-2 only with its update KB4474419"
        );
    }
    text
}
