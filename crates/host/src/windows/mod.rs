//! What this Windows says about the host.
//!
//! Functions that Windows 7 and Server 2008 R2 lack are looked up at run time; all others are there.

pub mod accounts;
mod adapters;
pub mod application_log;
pub mod audit;
pub mod console;
pub mod firewall_log;
pub mod guarded;
pub mod machine;
mod name_servers;
mod owned;
pub mod paths;
pub mod pipe;
mod processes;
#[cfg_attr(
    not(any(feature = "inventory", test)),
    allow(dead_code, reason = "only the inventory lists keys and reads both views")
)]
mod registry;
mod security;
#[cfg(any(feature = "windows-xml", test))]
pub mod security_log;
pub mod services;
pub mod signature;
pub mod sockets;
#[cfg(any(feature = "inventory", test))]
pub mod software;
mod state_directory;
pub mod system;
mod tables;
mod this_host;
pub mod time_servers;
pub mod usage;
mod wide;

pub use processes::Process;
pub use state_directory::{StateDirectoryError, state_directory};
pub use this_host::Windows;

pub(crate) use security::{Before, close, private_directory, private_file, replace};
