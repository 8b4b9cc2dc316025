//! What a resident program needs besides the cycle: the poll that the platform holds open, and its settings.

/// Facts about this host, for resident programs.
#[cfg(target_os = "linux")]
pub mod host {
    pub use xshield_host::linux::{addresses, conntrack, machine, nflog, programs, watch};

    #[cfg(feature = "inventory")]
    pub use xshield_host::linux::software;
}
/// Facts about this host, for resident programs.
#[cfg(windows)]
pub mod host {
    pub use xshield_host::windows::{machine, pipe};

    #[cfg(feature = "inventory")]
    pub use xshield_host::windows::software;
}
mod poll;
pub mod settings;
mod usage;
pub mod verbs;

#[cfg(target_os = "linux")]
pub use crate::linux::resident_live as live;
pub use poll::{PollError, Polled, Poller};
pub use settings::{Asking, Resident, Settings};
pub use usage::Meter;
#[cfg(feature = "inventory")]
pub use xshield_host::inventory;
