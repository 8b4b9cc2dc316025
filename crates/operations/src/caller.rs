//! The caller of an operation, and the proof of its role.

use std::marker::PhantomData;

use xshield_model::role::Role;

use crate::error::{OperationError, Result};

/// An authenticated account.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account's name.
    pub account: String,
    /// The role of the token: never more than its account's.
    pub role: Role,
    /// The token's id.
    pub token: String,
}

impl Caller {
    /// As written to the audit log.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("user:{}", self.account)
    }
}

/// A role, as a type.
pub trait AtLeast: Send + Sync {
    /// The minimum role.
    const ROLE: Role;
}

/// Any caller.
#[derive(Debug)]
pub struct Viewer;
/// Operators and admins.
#[derive(Debug)]
pub struct Operator;
/// Admins.
#[derive(Debug)]
pub struct Admin;

impl AtLeast for Viewer {
    const ROLE: Role = Role::Viewer;
}
impl AtLeast for Operator {
    const ROLE: Role = Role::Operator;
}
impl AtLeast for Admin {
    const ROLE: Role = Role::Admin;
}

/// Proof that a caller has at least the role `R`. An operation that takes it can't be called without.
#[derive(Debug)]
pub struct By<R> {
    caller: Caller,
    role: PhantomData<R>,
}

impl<R: AtLeast> By<R> {
    /// The proof for a caller who has the role.
    ///
    /// # Errors
    /// When the caller has a lesser one.
    pub fn new(caller: Caller) -> Result<Self> {
        if caller.role < R::ROLE {
            let detail =
                format!("this requires the role {:?}; the token has {:?}", R::ROLE, caller.role);
            return Err(OperationError::Forbidden { detail: detail.to_lowercase(), field: None });
        }
        Ok(Self { caller, role: PhantomData })
    }

    /// The caller.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// As written to the audit log.
    #[must_use]
    pub fn actor(&self) -> String {
        self.caller.actor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_role_is_refused() {
        let caller = |role| Caller { account: "a".to_owned(), role, token: "t".to_owned() };
        let proofs = |role| {
            [
                By::<Viewer>::new(caller(role)).is_ok(),
                By::<Operator>::new(caller(role)).is_ok(),
                By::<Admin>::new(caller(role)).is_ok(),
            ]
        };
        assert_eq!(proofs(Role::Viewer), [true, false, false]);
        assert_eq!(proofs(Role::Operator), [true, true, false]);
        assert_eq!(proofs(Role::Admin), [true, true, true]);
        let refused = By::<Admin>::new(caller(Role::Viewer)).unwrap_err();
        assert_eq!(refused.to_string(), "this requires the role admin; the token has viewer");
    }
}
