//! What is asked of Windows itself; run on Windows, or under wine on any machine that has it.

#![cfg(windows)]

mod facts;
mod files;
mod logs;
mod sockets;
