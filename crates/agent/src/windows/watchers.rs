//! What watches this system between cycles: nothing yet.

use std::io;
use std::sync::Arc;

use crate::agent::Agent;
use crate::health::ActivePathSource;
use crate::live::ListenerStatus;

/// Cycles read the Security log; there are no live events.
///
/// # Errors
/// Never.
pub fn start(agent: &Arc<Agent>) -> io::Result<()> {
    agent.live.stand(ListenerStatus::Off);
    agent.set_path_source(ActivePathSource::SecurityLog);
    Ok(())
}
