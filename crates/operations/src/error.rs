//! Errors of operations.

use std::error::Error;

use xshield_api::field_error::FieldError;
use xshield_api::impact::ImpactSummary;
use xshield_store::StoreError;

/// The result of an operation.
pub type Result<T> = std::result::Result<T, OperationError>;

/// Why an operation was not carried out. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// An invalid value of a field.
    #[error("{reason}")]
    Invalid {
        /// The field: a JSON pointer into the request, or `?name` for a parameter.
        field: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The named object does not exist.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// The kind, e.g. `asset`.
        what: &'static str,
        /// Its name in the request.
        id: String,
    },
    /// The change conflicts with the current state.
    #[error("{detail}")]
    Conflict {
        /// The kind of conflict, in words joined by `-`: part of the interface.
        code: &'static str,
        /// The current state, and what to do.
        detail: String,
        /// The conflicting field of the request.
        field: Option<&'static str>,
    },
    /// A commit would have another impact than the caller expects.
    #[error("{detail}")]
    UnexpectedImpact {
        /// The kind of conflict, as of [`OperationError::Conflict`].
        code: &'static str,
        /// What to do.
        detail: &'static str,
        /// The actual impact.
        impact: Box<ImpactSummary>,
    },
    /// The caller's role is not sufficient.
    #[error("{detail}")]
    Forbidden {
        /// What is required.
        detail: String,
        /// The field of the request that requires it.
        field: Option<&'static str>,
    },
    /// Too many concurrent requests.
    #[error("too many {what}; try again in {seconds} s")]
    TooMany {
        /// The kind of request.
        what: &'static str,
        /// When to try again.
        seconds: u64,
    },
    /// Policy documents that are invalid or inconsistent.
    #[error("the policy is not valid")]
    InvalidPolicy(Vec<FieldError>),
    /// A policy that can't be compiled for all assets.
    #[error("the policy can't be compiled")]
    PolicyDoesNotCompile(Vec<FieldError>),
    /// One asset's ruleset can't be compiled.
    #[error("{failure}; the host keeps its ruleset until the policy is corrected")]
    RulesetNotCompiled {
        /// The reason.
        failure: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An internal failure.
    #[error("could not {action}")]
    Failed {
        /// The failed action, in the infinitive.
        action: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl OperationError {
    /// An invalid value of a field.
    #[must_use]
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// The named object does not exist.
    #[must_use]
    pub fn not_found(what: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { what, id: id.into() }
    }

    /// The change conflicts with the current state.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into(), field: None }
    }

    /// The same with the conflicting field of the request.
    #[must_use]
    pub fn conflict_at(field: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into(), field: Some(field) }
    }
}

/// Adds the failed action to an internal error.
pub trait Doing<T> {
    /// `action` completes "could not …".
    ///
    /// # Errors
    /// The error, with the action's name.
    fn doing(self, action: &'static str) -> Result<T>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, action: &'static str) -> Result<T> {
        self.map_err(|source| OperationError::Failed { action, source: source.into() })
    }
}
