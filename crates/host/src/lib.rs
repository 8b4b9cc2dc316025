//! Facts of this host: identity, OS, listening ports, processes, DNS answers, kernel log, spool.
//!
//! [`files`], [`lock`] and [`spool`] work on every OS: what must survive a kill at any byte. So do
//! [`identity`], [`resolver`] and [`log_line`]; what they need from the OS comes by way of
//! [`operating_system`].
//! [`windows_logs`] reads what Windows writes, on any OS.
//! Everything under [`linux`] asks this kernel or this distribution; the answers are plain data of
//! `policy` and `wire`, so nothing above this crate knows where they came from.

#[cfg(target_os = "macos")]
compile_error!("Xshield does not support macOS: it enforces with nftables, which only Linux has");

pub mod files;
pub mod identity;
pub mod lock;
pub mod log_line;
pub mod operating_system;
pub mod program;
pub mod resolver;
pub mod socket_holders;
pub mod spool;
pub mod windows_logs;

#[cfg(target_os = "linux")]
pub mod linux;

use xshield_wire::message::Problem;

fn problem(code: &str, text: impl Into<String>) -> Problem {
    Problem { code: code.to_owned(), text: text.into() }
}
