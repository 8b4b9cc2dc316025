//! What a resident program needs besides the cycle: the poll that the platform holds open, and its settings.

/// Facts about this host, for resident programs.
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
