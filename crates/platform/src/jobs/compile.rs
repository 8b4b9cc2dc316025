//! Compiles again whenever the inventory has changed, taking changes that come together at once.

use std::time::Duration;

use tokio::time::Instant;

use super::pace::Pace;
use crate::state::App;

/// Runs as long as the platform does.
pub async fn run(app: App) {
    const RETRY: Duration = Duration::from_secs(5);
    let mut pace = Pace::new(Duration::from_millis(app.settings.gather_changes_ms));
    loop {
        pace.gather(app.compiler.changes()).await;
        app.configuring.changed();
        let begun = Instant::now();
        match app.compiler.recompile().await {
            Ok(assets) => {
                assets.iter().for_each(|asset| app.waking.wake(asset));
                pace.worked(begun, Instant::now(), assets.len());
            }
            Err(error) => {
                tracing::error!(reason = error.in_words(), "rulesets could not be compiled");
                tokio::time::sleep(RETRY).await;
                app.compiler.inventory_changed();
            }
        }
    }
}
