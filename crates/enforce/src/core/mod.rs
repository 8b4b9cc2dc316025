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
//!        │                                  │ write down                    ▲
//!        │ try                              ▼                               │
//!        ▼                           LastKnownGood ── put back ─────────────┤
//!     OnTrial ── the platform answers ─▶ Confirmed ── write down, keep ─────┘
//!        │
//!        └── no answer, or can't be written down: take back; or the program is killed: its time runs out
//! ```
//!
//! `cycle` is a run on one page. [`holding`] has one type for each of these states, and is the only place
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
