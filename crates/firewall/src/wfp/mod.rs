//! Windows: a bound ruleset in the Windows Filtering Platform (WFP).
//!
//! 1. [`model`]: WFP's objects as plain values, with their fixed keys ([`names`], [`ours`]);
//! 2. [`eval`]: what the filter engine decides about a packet, according to Microsoft's documentation; where
//!    that is ambiguous, there are several [`reading`]s;
//! 3. [`plan()`]: a bound ruleset as filters in one sublayer, whose verdict no reading changes.
//!
//! 4. [`difference`]: what was read back compared with the plan, and the changes that make it the plan;
//!    [`programmed`]: the same in the model of every OS; [`attribution`]: the rule of an event; [`trial`]: a
//!    plan that is removed when its session ends.
//! 5. [`coexistence`]: the influence of other products' filters on our decisions; `xml` (feature `wfp-xml`)
//!    reads them from the output of `netsh wfp show state`.
//!
//! 6. [`FilterEngine`]: what can be read and changed like the filter engine of a host; an
//!    [`EngineState`](model::EngineState) is one in memory.
//! 7. [`WfpFirewall`]: which plan an engine holds, trial, confirmation, read-back, removal.
//! 8. [`WfpThreatTable`]: the threat list, in a sublayer of its own.
//! 9. `windows`: the filter engine of this host, on Windows. Everything else builds and is tested on every
//!    system.

pub mod attribution;
pub mod codes;
pub mod coexistence;
mod corners;
mod decode;
mod diff;
mod engine;
pub mod eval;
mod filter_engine;
mod firewall;
mod guid;
pub(crate) mod listing;
mod mark;
pub mod matching;
pub mod model;
pub mod names;
pub mod ours;
mod plan;
pub mod program;
pub mod reading;
mod region;
mod rules;
pub mod security_descriptor;
mod text;
mod threat_list;
pub mod traffic;
pub mod trial;
#[cfg(any(windows, test))]
mod watchdog;
#[cfg(windows)]
pub mod windows;
#[cfg(any(test, feature = "wfp-xml"))]
pub mod xml;

pub use decode::programmed;
pub use diff::{PlanDifference, difference};
pub use filter_engine::{
    EngineAction, EngineError, EngineFault, FilterEngine, ObjectChange, ObjectKind, SessionKind,
    Transaction,
};
pub use firewall::{InstalledPlan, PolicyState, ReadPlan, TrialSession, WfpFirewall, WfpTrial};
pub use guid::{Guid, GuidError};
pub use plan::{Omission, Plan, PlannedFilter, TooManyFilters, plan};
pub use threat_list::{LIST_PROVIDER, LIST_SUBLAYER, LIST_WEIGHT, WfpThreatTable};
