//! Errors of changing and reading the kernel's tables.

use std::io;

use crate::wfp::{EngineAction, EngineError, EngineFault, TooManyFilters};

/// Each names the action that failed and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The kernel has no nf_tables.
    #[error(
        "this kernel has no nf_tables; load the module with 'modprobe nf_tables' or install a kernel that has it"
    )]
    NoNfTables,
    /// The caller may not change the firewall.
    #[error("{action}: not permitted; run as root or with CAP_NET_ADMIN")]
    NoPermission {
        /// The action that failed.
        action: &'static str,
    },
    /// Other programs kept changing the rules in our table. Changes of their own tables only result in this
    /// error if the kernel lists so many of their chains together with ours that it needs several messages.
    #[error(
        "{action}: another program kept changing the rules in our table meanwhile; find it with \
         'nft monitor'"
    )]
    Busy {
        /// The action that failed.
        action: &'static str,
    },
    /// The trial of the new ruleset expired, and the old one is in force again.
    #[error(
        "keeping the new ruleset: its probation ended, so the previous one is in force again; \
         apply it again"
    )]
    ProbationOver,
    /// The ruleset on trial is not the one that was put there.
    #[error("{action}: the kernel holds a different ruleset than the one on trial; apply it again")]
    Overtaken {
        /// The action that failed.
        action: &'static str,
    },
    /// Another session of the filter engine has a ruleset on trial.
    #[error(
        "another program has put a ruleset of Xshield on trial, and only the filter engine can end that; \
         run again once that program has ended"
    )]
    TrialOfAnother,
    /// The kernel refused a message. Nothing was changed.
    #[error("{action}: the kernel refused{hint}; nothing was changed")]
    Refused {
        /// The action that failed.
        action: &'static str,
        /// The kernel's error.
        #[source]
        source: io::Error,
        /// The kernel's error message, if any.
        hint: String,
    },
    /// The socket failed.
    #[error("{action}: the netlink socket failed")]
    Socket {
        /// The action that failed.
        action: &'static str,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// The kernel did not answer.
    #[error("{action}: the kernel did not answer; read the rules back to see what is in force")]
    NoAnswer {
        /// The action that failed.
        action: &'static str,
    },
    /// The filter engine of Windows did not do what was asked.
    #[error(transparent)]
    FilterEngine(#[from] EngineError),
    /// The ruleset is too large for the filter engine. Nothing was changed.
    #[error(transparent)]
    TooManyFilters(#[from] TooManyFilters),
    /// There is nothing to read.
    #[error("reading the rules back: {what}; apply a ruleset to repair it")]
    NothingInForce {
        /// What the table contains instead.
        what: String,
    },
}

impl FirewallError {
    /// Whether others changed our rules faster than they could be read or changed.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::FilterEngine(EngineError { fault: EngineFault::TimedOut, .. })
        )
    }

    /// Whether the change that failed is known to have changed nothing.
    #[must_use]
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::TooManyFilters(_) => true,
            // Of all that is asked in a transaction, only the answer to the last can be lost.
            Self::FilterEngine(EngineError { action, .. }) => *action != EngineAction::Commit,
            _ => false,
        }
    }
}
