//! Which process holds which socket, remembered between runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Which process held which socket when last seen. Kept between runs to avoid searches.
///
/// Some sockets have no visible holder (the kernel's own, those of other pid namespaces); others are held by
/// the first process for a service that it starts later. Searching for these in every run would cost a full
/// search each time: they are searched in new processes only, and in all processes in every
/// `THOROUGH_EVERY`th run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holders {
    pub(crate) held: BTreeMap<u32, Holder>,
    /// Sockets that were searched but not found, except possibly in the first process.
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
