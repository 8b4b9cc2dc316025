//! Processes that look like a program of a rule and are not taken for it.

use std::collections::BTreeMap;

use xshield_policy::{Direction, LocalProgram};

use super::accounts::Accounts;
use crate::linux::instance::Instance;

/// Impostors that are told of one program in one direction; the rest is counted.
const MOST: usize = 5;
/// Why an instance of the right file is still not the program.
pub(super) const LOGIN_USERS_OWN: &str =
    "it is a login user's own instance: a rule with 'user' is for those";

/// Processes that look like a program of a rule and are not taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impostors {
    /// The program.
    pub program: LocalProgram,
    /// The direction of the rules that name it.
    pub direction: Direction,
    /// The first few of them, by process id.
    pub told: Vec<Impostor>,
    /// How many more there are.
    pub more: usize,
}

/// One process that looks like a program and is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impostor {
    /// Its id.
    pub pid: u32,
    /// Its real user, by name where it has one.
    pub user: String,
    /// Its executable, as the kernel shows it; its name where that may not be read.
    pub executable: String,
    /// Why it is not taken for the program.
    pub reason: String,
}

/// Processes that look like a program, as they are found.
#[derive(Default)]
pub(super) struct Suspects(BTreeMap<u32, (Instance, String)>);

impl Suspects {
    /// Of several reasons the first counts.
    pub(super) fn add(&mut self, instance: &Instance, reason: impl Into<String>) {
        self.0.entry(instance.pid).or_insert_with(|| (instance.clone(), reason.into()));
    }

    pub(super) fn told(
        self,
        program: &LocalProgram,
        direction: Direction,
        accounts: &Accounts,
    ) -> Option<Impostors> {
        if self.0.is_empty() {
            return None;
        }
        let more = self.0.len().saturating_sub(MOST);
        let told = self.0.into_values().take(MOST).map(|(instance, reason)| Impostor {
            pid: instance.pid,
            user: accounts.shown(instance.users[0]),
            executable: instance.shown(),
            reason,
        });
        Some(Impostors { program: program.clone(), direction, told: told.collect(), more })
    }
}
