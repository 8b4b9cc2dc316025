//! What a program that stays needs besides the cycle: the held-open notification and its settings.

mod poll;
pub mod settings;
mod usage;
pub mod verbs;

pub use poll::{PollError, Polled, Poller};
pub use settings::{Asking, Resident, Settings, Telling};
pub use usage::Meter;
