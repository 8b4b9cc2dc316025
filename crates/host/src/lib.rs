//! Facts about this host: identity, OS, listening ports, processes, DNS answers, kernel log, spool.
//!
//! [`files`], [`lock`] and [`spool`] work on every OS and survive a kill at any byte. [`identity`],
//! [`resolver`] and [`log_line`] work on every OS, too, with facts of the OS from [`operating_system`].
//! [`windows_logs`] and [`windows_formats`] parse what Windows writes, on any OS. Everything under `linux`
//! and `windows` reads this system; the results are plain data of `policy` and `wire`, so no crate above
//! this one depends on their source.

#[cfg(target_os = "macos")]
compile_error!("Xshield does not support macOS: it enforces with nftables, which only Linux has");

pub mod files;
#[cfg(any(target_os = "linux", windows))]
mod firmware;
pub mod identity;
#[cfg(any(feature = "inventory", test))]
pub mod inventory;
pub mod lock;
pub mod log_line;
pub mod operating_system;
pub mod program;
pub mod resolver;
pub mod socket_holders;
pub mod spool;
pub mod time_server;
pub mod windows_formats;
pub mod windows_logs;

#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(windows)]
pub mod windows;

use xshield_wire::message::Problem;

fn problem(code: &str, text: impl Into<String>) -> Problem {
    Problem { code: code.to_owned(), text: text.into() }
}
