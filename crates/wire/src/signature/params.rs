//! The parameters of a signature and the components it covers, as the value of `Signature-Input`.
//!
//! A strict subset of structured fields (RFC 8941): no optional white space, no escapes in strings, each
//! parameter at most once. An accepted text is therefore already in its canonical form, and can be used as
//! received in the signature base.

use std::fmt::Write as _;

use crate::message::UnixSeconds;

/// Longest string in a parameter or a component's name, in bytes.
const MAX_STRING: usize = 256;
/// Most components in the list.
const MAX_COMPONENTS: usize = 16;
/// RFC 8941 integers have at most 15 digits.
const MAX_DIGITS: usize = 15;

/// The parameters of the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// When the signature was made.
    pub created: UnixSeconds,
    /// The key id.
    pub keyid: String,
    /// Unique among the key's signatures.
    pub nonce: Option<String>,
    /// The application's tag.
    pub tag: Option<String>,
}

/// Why the value of `Signature-Input` was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// Not a parenthesised list of quoted names.
    #[error("expected a list of quoted component names in parentheses")]
    Components,
    /// A parameter is not `;name=value`.
    #[error("expected parameters as ;name=\"text\" or ;name=number")]
    Parameter,
    /// A parameter is repeated.
    #[error("a parameter is repeated")]
    Repeated,
    /// A parameter that is not in the profile.
    #[error("expected no parameters besides created, keyid, nonce and tag")]
    Unknown,
    /// `created` or `keyid` is absent.
    #[error("created and keyid are needed")]
    Incomplete,
}

impl Params {
    /// Writes the inner list, e.g. `("@method");created=1;keyid="a"`.
    #[must_use]
    pub fn serialize(&self, components: &[&str]) -> String {
        let names: Vec<String> = components.iter().map(|name| format!("\"{name}\"")).collect();
        let mut text = format!("({})", names.join(" "));
        let _ = write!(text, ";created={}", self.created);
        if let Some(nonce) = &self.nonce {
            let _ = write!(text, ";nonce=\"{nonce}\"");
        }
        let _ = write!(text, ";keyid=\"{}\"", self.keyid);
        if let Some(tag) = &self.tag {
            let _ = write!(text, ";tag=\"{tag}\"");
        }
        text
    }

    /// Parses the inner list: component names in order, and the parameters in any order.
    ///
    /// # Errors
    /// For anything that [`Params::serialize`] could not have written, except for the parameters' order.
    pub fn parse(text: &str) -> Result<(Vec<&str>, Self), ParamsError> {
        let inner = text.strip_prefix('(').ok_or(ParamsError::Components)?;
        let (list, parameters) = inner.split_once(')').ok_or(ParamsError::Components)?;
        let components = parse_components(list)?;
        let (mut created, mut keyid, mut nonce, mut tag) = (None, None, None, None);
        for parameter in parameters.split(';').enumerate().filter_map(after_first) {
            let (name, value) = parameter?.split_once('=').ok_or(ParamsError::Parameter)?;
            match name {
                "created" => once(&mut created, parse_integer(value)?)?,
                "keyid" => once(&mut keyid, parse_string(value)?.to_owned())?,
                "nonce" => once(&mut nonce, parse_string(value)?.to_owned())?,
                "tag" => once(&mut tag, parse_string(value)?.to_owned())?,
                _ => return Err(ParamsError::Unknown),
            }
        }
        let created = created.ok_or(ParamsError::Incomplete)?;
        let keyid = keyid.ok_or(ParamsError::Incomplete)?;
        Ok((components, Self { created, keyid, nonce, tag }))
    }
}

/// The text before the first `;` must be empty; every later part is a parameter. Strings of the profile
/// contain no `;`.
fn after_first((index, piece): (usize, &str)) -> Option<Result<&str, ParamsError>> {
    match (index, piece) {
        (0, "") => None,
        (0, _) => Some(Err(ParamsError::Parameter)),
        _ => Some(Ok(piece)),
    }
}

fn parse_components(list: &str) -> Result<Vec<&str>, ParamsError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let names: Result<Vec<_>, _> =
        list.split(' ').take(MAX_COMPONENTS + 1).map(parse_string).collect();
    match names {
        Ok(names) if names.len() <= MAX_COMPONENTS => Ok(names),
        _ => Err(ParamsError::Components),
    }
}

/// Visible ASCII in quotes, without space, `"`, `\`, `;`, `(` and `)`.
fn parse_string(text: &str) -> Result<&str, ParamsError> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b';' | b'(' | b')');
    match inner {
        Some(inner) if inner.len() <= MAX_STRING && inner.bytes().all(plain) => Ok(inner),
        _ => Err(ParamsError::Parameter),
    }
}

fn parse_integer(text: &str) -> Result<u64, ParamsError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical && (1..=MAX_DIGITS).contains(&text.len()) {
        text.parse().map_err(|_| ParamsError::Parameter)
    } else {
        Err(ParamsError::Parameter)
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), ParamsError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParamsError::Repeated),
    }
}
