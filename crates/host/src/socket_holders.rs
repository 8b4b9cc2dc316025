//! Which process holds which socket, as runs remember it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Which process holds which socket, as last seen. Kept between runs to save the search.
///
/// Some sockets have no holder to be seen (the kernel's own, those of other pid namespaces), others are
/// held by the first process for a service that it has yet to start. Looking for them anew at every run
/// would cost the full search every time: they are looked for in new processes only, and everywhere at
/// every `THOROUGH_EVERY`th run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holders {
    pub(crate) held: BTreeMap<u32, Holder>,
    /// Searched for, and found nowhere but perhaps with the first process.
    pub(crate) unfound: BTreeSet<u32>,
    /// The processes that were searched.
    pub(crate) searched: BTreeSet<u32>,
    /// Runs since the last full search.
    pub(crate) age: u8,
}

/// A descriptor of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) fd: u32,
}
