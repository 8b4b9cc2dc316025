//! The filter engine of this Windows host, through the functions that Windows 7 and Server 2008 R2
//! brought (`Fwpm…0`).
//!
//! 1. `calls`: sessions, transactions, enumerations; each call answers with an error that names it.
//! 2. `to_windows`, `from_windows`: objects as Windows' structures, and back.
//! 3. [`HostEngine`]: the [`FilterEngine`](super::FilterEngine) that is made of them.
//! 4. `trial_limit`: ends a program that hangs in a trial.
//!
//! `unsafe` is in the first two, and in the last for the call that ends the process. What is handed over is owned until the call returns;
//! what Windows hands out is copied and freed at once.

mod calls;
mod engine;
mod from_windows;
mod to_windows;
mod trial_limit;

pub use calls::app_id;
pub use engine::{HostEngine, LockLimits};
pub use trial_limit::on_expired_trial;
