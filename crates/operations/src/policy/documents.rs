//! Parses policy documents from JSON or YAML into a validated policy; all errors are field errors.

use xshield_api::field_error::FieldError;
use xshield_api::policy::{PolicyFile, PolicyInput};
use xshield_policy::document::{self, Document, DocumentError, Policy, PolicyError};

use crate::pointer::pointer;

/// Consistent documents.
#[derive(Debug)]
pub struct CheckedPolicy {
    /// As written.
    pub documents: Vec<Document>,
    /// For the compiler.
    pub policy: Policy,
}

/// Parses and validates an operator's documents.
///
/// # Errors
/// All errors found.
pub fn read(input: &PolicyInput) -> Result<CheckedPolicy, Vec<FieldError>> {
    let documents = match (&input.documents, &input.files) {
        (Some(values), None) => from_values(values)?,
        (None, Some(files)) => from_files(files)?,
        _ => {
            return Err(vec![FieldError::of_all("expected either documents or files")]);
        }
    };
    check(documents)
}

/// Parses and validates stored documents.
///
/// # Errors
/// All errors found.
pub fn read_stored(json: &str) -> Result<CheckedPolicy, Vec<FieldError>> {
    let documents =
        serde_json::from_str(json).map_err(|error| vec![FieldError::of_all(error.to_string())])?;
    check(documents)
}

fn check(documents: Vec<Document>) -> Result<CheckedPolicy, Vec<FieldError>> {
    match Policy::build(documents.clone()) {
        Ok(policy) => Ok(CheckedPolicy { documents, policy }),
        Err(errors) => Err(errors.into_iter().map(policy_error).collect()),
    }
}

fn policy_error(error: PolicyError) -> FieldError {
    FieldError {
        field: format!("/documents/{}", error.document),
        reason: format!("{}: {}", error.field, error.reason),
        place: error.place,
    }
}

fn from_values(values: &[serde_json::Value]) -> Result<Vec<Document>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut documents = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        match serde_path_to_error::deserialize(value) {
            Ok(document) => documents.push(document),
            Err(error) => errors.push(FieldError {
                field: format!("/documents/{index}{}", pointer(error.path())),
                reason: error.into_inner().to_string(),
                place: None,
            }),
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(errors) }
}

fn from_files(files: &[PolicyFile]) -> Result<Vec<Document>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut documents = Vec::new();
    for (index, file) in files.iter().enumerate() {
        match document::parse(&file.text, &file.name) {
            Ok(parsed) => documents.extend(parsed),
            Err(error) => errors.push(document_error(index, &error)),
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(errors) }
}

fn document_error(index: usize, error: &DocumentError) -> FieldError {
    FieldError {
        field: format!("/files/{index}"),
        reason: error.reason.clone(),
        place: Some(format!("{}:{}:{}", error.source_name, error.line, error.column)),
    }
}
