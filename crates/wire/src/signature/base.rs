//! The signature base: the text that is signed (RFC 9421, section 2.5).

use std::fmt::Write as _;

/// One line for each component, by name and value, then the parameters.
///
/// `params` is the serialized inner list of the `Signature-Input` header without its label, byte for
/// byte as sent. Component parameters (`;sf`, `;req`, …) are not supported.
#[must_use]
pub fn signature_base(components: &[(&str, &str)], params: &str) -> String {
    let mut base = String::with_capacity(512);
    for (name, value) in components {
        let _ = writeln!(base, "\"{name}\": {value}");
    }
    let _ = write!(base, "\"@signature-params\": {params}");
    base
}
