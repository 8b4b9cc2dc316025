//! Names of protocols, which the platform returns as a word or a number.

use serde_json::Value;
use xshield_policy::protocol::keyword;

/// `tcp`, `gre`; `protocol 253` for one without a name.
pub(crate) fn protocol(told: &Value) -> String {
    let number = told.as_u64().and_then(|number| u8::try_from(number).ok());
    match (told, number.and_then(keyword)) {
        (Value::String(word), _) => word.clone(),
        (_, Some(keyword)) => keyword.to_owned(),
        (other, None) => format!("protocol {other}"),
    }
}

/// Whether flows of this protocol have ports.
pub(crate) fn has_ports(protocol: &str) -> bool {
    matches!(protocol, "tcp" | "udp" | "sctp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn protocol_numbers_become_names() {
        for (told, called) in [
            (json!("udp"), "udp"),
            (json!(132), "sctp"),
            (json!(2), "igmp"),
            (json!(253), "protocol 253"),
            (json!(4711), "protocol 4711"),
        ] {
            assert_eq!(protocol(&told), called);
        }
    }
}
