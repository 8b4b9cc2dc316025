//! What a kernel can do, as far as the plan depends on it.

/// Found out by asking the kernel, never guessed from its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Sets of concatenated fields can hold ranges (Linux 5.6). Without: ranges are rule lines.
    pub concat_intervals: bool,
    /// Set elements can carry their own counters (Linux 5.7). Without: hits are counted by rule line.
    pub element_counters: bool,
    /// The packet path can update sets with counters. Without: log lines are the only record of flows.
    pub recorder: bool,
    /// `socket cgroupv2` matches the program's cgroup (Linux 5.13). Without: rules owned by a cgroup are
    /// not enforceable.
    pub cgroups: bool,
}

impl Capabilities {
    /// A current kernel.
    pub const FULL: Self =
        Self { concat_intervals: true, element_counters: true, recorder: true, cgroups: true };
    /// The least that is supported (RHEL 7).
    pub const PLAIN: Self =
        Self { concat_intervals: false, element_counters: false, recorder: false, cgroups: false };
}
