//! Waiting for a condition, never for a fixed time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Calls `condition` repeatedly until it returns a value; fails when `limit` has passed.
///
/// # Errors
/// When the limit has passed (the error names `what`), or the condition fails.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: did not happen within {} s", limit.as_secs());
        }
        pause();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place that polls; its callers have deadlines"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
