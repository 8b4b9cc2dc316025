//! What this Linux kernel and distribution say about the host.
//!
//! Everything here sees the network namespace of the calling thread.

pub mod addresses;
mod bridges;
pub mod cgroups;
pub mod connections;
pub mod conntrack;
mod executable;
pub mod firewalld;
pub mod forwarding;
pub mod guarded;
pub mod identity;
mod instance;
pub mod kernel_log;
pub mod local;
pub mod machine;
mod netlink;
pub mod nflog;
pub mod nftables;
pub mod os_release;
pub mod processes;
pub mod programs;
pub mod resolver;
pub mod sockets;
#[cfg(any(feature = "inventory", test))]
pub mod software;
pub mod system;
pub mod time_servers;
pub mod watch;

use xshield_wire::message::Problem;

fn problem(code: &str, text: impl Into<String>) -> Problem {
    Problem { code: code.to_owned(), text: text.into() }
}
