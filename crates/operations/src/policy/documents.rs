//! Policy documents on their way in: from JSON or YAML to a checked policy, with everything that is
//! wrong as field errors.

use xshield_api::field_error::FieldError;
use xshield_api::policy::{PolicyFile, PolicyInput};
use xshield_policy::document::{self, Document, DocumentError, Policy, PolicyError};

use crate::pointer::pointer;

/// Documents that fit together.
#[derive(Debug)]
pub struct CheckedPolicy {
    /// As they were written.
    pub documents: Vec<Document>,
    /// As they are compiled.
    pub policy: Policy,
}

/// Reads and checks what an operator sent.
///
/// # Errors
/// Everything that is wrong.
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

/// Reads and checks stored documents.
///
/// # Errors
/// Everything that is wrong.
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
