//! Applies a bound ruleset to the host's own firewall and reads it back.
//!
//! 1. [`plan()`]: a pure translation of [`xshield_policy::Bound`] into sets, chains and rules, for the
//!    [`Capabilities`] of one kernel. Builds and is tested on every OS.
//! 2. `nft` (Linux): one atomic nftables transaction per change, over netlink; never the `nft` program.
//! 3. [`Programmed`]: what the kernel returned, comparable with the plan; hits by rule; explanations.
//! 4. [`flows`]: the kernel's flow recorder, drained without losing a count.
//! 5. [`threat`]: the threat list in its own table, in front of the policy.
//! 6. [`wfp`]: the same ruleset as filters of the Windows Filtering Platform, and a model of what Windows
//!    makes of them.
//!
//! Deliberately absent: any way to add or remove a single rule. The whole desired state is applied at once.
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        unused_imports,
        reason = "what nftables alone uses is beside what every system uses"
    )
)]

pub mod capabilities;
#[cfg(target_os = "linux")]
pub mod conntrack;
mod error;
pub mod flows;
mod installed;
#[cfg(target_os = "linux")]
pub mod nft;
pub mod plan;
pub mod programmed;
pub mod threat;
pub mod wfp;

pub use capabilities::{Capabilities, CapabilitiesError};
pub use error::FirewallError;
pub use flows::{FlowCount, FlowDump, FlowKind, Losses, Traffic};
pub use installed::{InstalledRuleset, KernelState, Slot};
#[cfg(target_os = "linux")]
pub use nft::{Firewall, LiveCounters, Trial};
pub use plan::{LiveGroup, Plan, plan, plan_with};
pub use programmed::{
    Action, Drift, Explanation, Generation, Hit, Programmed, explain, explain_forwarded,
};
