//! Facts of this host: identity, OS, listening ports, processes, DNS answers, kernel log, spool.
//!
//! [`files`], [`lock`] and [`spool`] work on every OS: what must survive a kill at any byte.
//! Everything under [`linux`] asks this kernel or this distribution; the answers are plain data of
//! `policy` and `wire`, so nothing above this crate knows where they came from.

#[cfg(target_os = "macos")]
compile_error!("Xshield does not support macOS: it enforces with nftables, which only Linux has");

pub mod files;
pub mod lock;
pub mod spool;

#[cfg(target_os = "linux")]
pub mod linux;
