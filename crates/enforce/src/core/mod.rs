//! The decisions of a run about the ruleset, without IO: everything outside is reached through the traits of
//! [`kernel`] and [`ports`]. It has no access to clock or randomness.
//!
//! ```text
//!  ruleset from the platform            on disk                      in the kernel
//!
//!  Verified<Ruleset>
//!        │ bind to this host's facts, plan
//!        ▼
//!    Candidate ── was proven before, other addresses ────────────────▶ in force for good
//!        │                                  │ save                          ▲
//!        │ try                              ▼                               │
//!        ▼                           LastKnownGood ── restore ──────────────┤
//!     OnTrial ── the platform answers ─▶ Confirmed ── save, keep ───────────┘
//!        │
//!        └── no answer, or saving fails: revert; or the program is killed: its probation ends
//! ```
//!
//! `cycle` is a run on one page. [`ruleset_state`] has one type for each of these states, and is the only place
//! that says what is in force: what was read from the kernel, or what the kernel acknowledged. `repair` decides
//! what to do before the platform is asked, `policy` afterwards. `result` is the result of a run, computed at
//! its end from the results of its parts.

pub(crate) mod cycle;
pub(crate) mod delivery;
pub(crate) mod hits;
mod inspection;
pub mod kernel;
pub mod known_good;
pub(crate) mod policy;
pub mod ports;
mod repair;
pub(crate) mod result;
pub mod ruleset_state;
#[cfg(test)]
mod tests;
pub(crate) mod threat;
