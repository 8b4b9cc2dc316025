//! Processes that look like a program of a rule but are not accepted as such.

use std::collections::BTreeMap;

use xshield_policy::{Direction, LocalProgram};

use super::accounts::Accounts;
use crate::linux::instance::Instance;

/// The most lookalike processes reported for one program and direction; the others are counted.
const MOST: usize = 5;
/// Why a process with the right executable is not the program.
pub(super) const LOGIN_USERS_OWN: &str =
    "it runs as a login user: name the user in the rule to match it";

/// Processes that look like a program of a rule but are not accepted as such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookalikes {
    /// The program.
    pub program: LocalProgram,
    /// The direction of the rules that name it.
    pub direction: Direction,
    /// The first few of them, by process id.
    pub told: Vec<Lookalike>,
    /// The number of the others.
    pub more: usize,
}

/// A process that looks like a program but is not accepted as such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookalike {
    /// Its id.
    pub pid: u32,
    /// Its real user, by name if it has one.
    pub user: String,
    /// Its executable, as the kernel shows it; its name if that may not be read.
    pub executable: String,
    /// Why it is not the program.
    pub reason: String,
}

/// Collects processes that look like a program.
#[derive(Default)]
pub(super) struct LookalikeCollector(BTreeMap<u32, (Instance, String)>);

impl LookalikeCollector {
    /// Adds one; if there are several reasons, the first counts.
    pub(super) fn add(&mut self, instance: &Instance, reason: impl Into<String>) {
        self.0.entry(instance.pid).or_insert_with(|| (instance.clone(), reason.into()));
    }

    pub(super) fn told(
        self,
        program: &LocalProgram,
        direction: Direction,
        accounts: &Accounts,
    ) -> Option<Lookalikes> {
        if self.0.is_empty() {
            return None;
        }
        let more = self.0.len().saturating_sub(MOST);
        let told = self.0.into_values().take(MOST).map(|(instance, reason)| Lookalike {
            pid: instance.pid,
            user: accounts.shown(instance.users[0]),
            executable: instance.shown(),
            reason,
        });
        Some(Lookalikes { program: program.clone(), direction, told: told.collect(), more })
    }
}
