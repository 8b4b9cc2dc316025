//! What a program that stays needs besides the cycle: the held-open notification and its settings.

/// What this host says about itself, for programs that stay to listen.
#[cfg(target_os = "linux")]
pub mod host {
    pub use xshield_host::linux::{addresses, conntrack, machine, nflog, programs, watch};

    #[cfg(feature = "inventory")]
    pub use xshield_host::linux::software;
}
mod poll;
pub mod settings;

#[cfg(target_os = "linux")]
pub use crate::linux::{Meter, resident_live as live, resident_verbs as verbs};
pub use poll::{PollError, Polled, Poller};
pub use settings::{Asking, Resident, Settings};
