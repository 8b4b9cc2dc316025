//! Parses the output of `netsh wfp show state` and `netsh wfp show filters`. `show filters` omits filters,
//! `show state` does not.
//!
//! Anything unknown is an error that names the filter: a report that silently omitted filters would be wrong.
//! Values of types that are not evaluated are kept by the name of their type.

mod objects;
mod tree;

pub use tree::XmlError;

use super::model::EngineState;

/// Reads a file of either kind.
///
/// # Errors
/// When it is not well-formed, too deep or too large, or an object in it is not as documented.
pub fn read(text: &str) -> Result<EngineState, XmlError> {
    let root = tree::parse(text)?;
    let mut state = EngineState::default();
    objects::collect(&root, &mut state)?;
    Ok(state)
}

#[cfg(test)]
mod tests;
