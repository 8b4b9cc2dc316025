//! Reads what `netsh wfp show state` and `netsh wfp show filters` write. `show filters` leaves filters out,
//! `show state` does not.
//!
//! What is not understood is an error that names the filter: a report about filters that left some out
//! would be wrong without saying so. Values of types that no condition here is judged by are kept by the
//! name of their type.

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
