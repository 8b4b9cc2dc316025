//! Threads of the agent.

use std::io;
use std::thread;

/// A small stack, since these threads do little.
const STACK: usize = 512 * 1024;

/// Starts a thread with a small stack.
///
/// # Errors
/// If it can't be started.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run).map(drop)
}
