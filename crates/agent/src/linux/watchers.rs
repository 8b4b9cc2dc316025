//! The threads that watch what only this system tells.

use std::io;
use std::sync::Arc;

use super::{addresses, guard, live, paths};
use crate::agent::Agent;
use crate::threads::spawn;

/// Starts them.
///
/// # Errors
/// If a thread can't be started.
pub fn start(agent: &Arc<Agent>) -> io::Result<()> {
    let outbox = Arc::new(live::Outbox::default());
    let watching = Arc::clone(agent);
    spawn("guard", move || guard::run(&watching))?;
    let readdressed = Arc::clone(agent);
    spawn("addresses", move || addresses::run(&readdressed))?;
    let following = Arc::clone(agent);
    spawn("paths", move || paths::run(&following))?;
    let (receiving, filled) = (Arc::clone(agent), Arc::clone(&outbox));
    spawn("receive", move || live::receive(&receiving, &filled))?;
    let sending = Arc::clone(agent);
    spawn("send", move || live::send(&sending, &outbox))
}
