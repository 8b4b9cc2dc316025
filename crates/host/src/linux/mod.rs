//! Facts about the host from this Linux kernel and distribution.
//!
//! All functions here see the network namespace of the calling thread.

pub mod addresses;
mod bridges;
pub mod cgroups;
pub mod connections;
pub mod conntrack;
mod executable;
pub mod firewalld;
pub mod forwarding;
pub mod guarded;
mod instance;
pub mod kernel_log;
pub mod local;
pub mod machine;
pub mod name_servers;
mod netlink;
pub mod nflog;
pub mod nftables;
pub mod os_release;
pub mod processes;
pub mod programs;
pub mod sockets;
#[cfg(any(feature = "inventory", test))]
pub mod software;
pub mod system;
mod this_host;
pub mod time_servers;
pub mod watch;

pub use this_host::Linux;

use crate::problem;
