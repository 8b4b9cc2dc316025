//! What was found on this host of the programs that rules name.

use std::collections::BTreeMap;

use xshield_policy::LocalProgram;
use xshield_policy::facts::{Listener, Owners};
use xshield_wire::message::Problem;

/// What was found of the programs that the rules of a ruleset name.
#[derive(Debug, Default)]
pub(crate) struct Recognised {
    /// The ports of each program of an inbound rule. A program that does not listen has no entry; its rules
    /// open nothing.
    pub(crate) listeners: BTreeMap<LocalProgram, Vec<Listener>>,
    /// What was found of each program of an inbound rule that does not listen, as text.
    pub(crate) absent: BTreeMap<LocalProgram, String>,
    /// The programs of inbound rules that can't be identified on this host, and why.
    pub(crate) unknown: BTreeMap<LocalProgram, String>,
    /// The owners by which the kernel recognises each program of an outbound rule, or why there are none.
    pub(crate) owners: BTreeMap<LocalProgram, Owners>,
    /// What an operator should know about it.
    pub(crate) problems: Vec<Problem>,
}
