//! Why an operation was not done.

use std::error::Error;

use xshield_api::field_error::FieldError;
use xshield_api::impact::ImpactSummary;
use xshield_store::StoreError;

/// The result of an operation.
pub type Result<T> = std::result::Result<T, OperationError>;

/// Why an operation was not done. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// A value that a field does not take.
    #[error("{reason}")]
    Invalid {
        /// Which: a JSON pointer into what was sent, or `?name` of a parameter.
        field: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// Something is named that does not exist.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// The kind, e.g. `asset`.
        what: &'static str,
        /// As it was named.
        id: String,
    },
    /// The change does not fit what is there.
    #[error("{detail}")]
    Conflict {
        /// The kind of conflict, in words joined by `-`: part of the interface.
        code: &'static str,
        /// What is there, and what to do.
        detail: String,
        /// What of the request does not fit.
        field: Option<&'static str>,
    },
    /// A commit would do something else than the caller expects.
    #[error("{detail}")]
    UnexpectedImpact {
        /// The kind of conflict, as of [`OperationError::Conflict`].
        code: &'static str,
        /// What to do.
        detail: &'static str,
        /// What it would do.
        impact: Box<ImpactSummary>,
    },
    /// The caller's role is not enough.
    #[error("{detail}")]
    Forbidden {
        /// What is needed.
        detail: String,
        /// What of the request needs it.
        field: Option<&'static str>,
    },
    /// Too many ask for it.
    #[error("too many {what}; try again in {seconds} s")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// When to ask again.
        seconds: u64,
    },
    /// Policy documents that are not as documented, or do not fit together.
    #[error("the policy is not valid")]
    InvalidPolicy(Vec<FieldError>),
    /// A policy that can't be compiled for all assets.
    #[error("the policy can't be compiled")]
    PolicyDoesNotCompile(Vec<FieldError>),
    /// One asset's ruleset can't be compiled.
    #[error("{failure}; the host keeps the ruleset that it has until the policy is mended")]
    RulesetNotCompiled {
        /// Why not.
        failure: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something else failed that the caller can't change.
    #[error("could not {action}")]
    Failed {
        /// What, in the infinitive.
        action: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl OperationError {
    /// A value that a field does not take.
    #[must_use]
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// Something is named that does not exist.
    #[must_use]
    pub fn not_found(what: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { what, id: id.into() }
    }

    /// The change does not fit what is there.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into(), field: None }
    }

    /// The same, and what of the request does not fit.
    #[must_use]
    pub fn conflict_at(field: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into(), field: Some(field) }
    }
}

impl OperationError {
    /// What went wrong and why, in one line.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}

/// Names what was being done when something failed that the caller can't change.
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
