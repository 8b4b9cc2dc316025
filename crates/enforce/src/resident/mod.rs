//! What a program that stays needs besides the cycle: the held-open notification and its settings.

/// What this host says about itself, for programs that stay to listen.
pub mod host {
    pub use xshield_host::linux::{
        addresses, conntrack, kernel_log, machine, nflog, programs, watch,
    };

    #[cfg(feature = "inventory")]
    pub use xshield_host::linux::software;
}
pub mod live;
mod poll;
pub mod settings;
mod usage;
pub mod verbs;

pub use poll::{PollError, Polled, Poller};
pub use settings::{Asking, Resident, Settings};
pub use usage::Meter;
