//! Recompiles whenever the inventory has changed, combining changes that arrive together.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use xshield_model::causes::in_words;
use xshield_operations::compiler::RulesetCompiler;

use super::host_configuration::HostConfigurations;
use super::pace::Pace;
use crate::held_polls::HeldPolls;

/// Runs as long as the platform does; changes that arrive within `least` are combined. Host settings may
/// change with the inventory, too.
pub async fn run(
    compiler: Arc<RulesetCompiler>,
    configurations: Arc<HostConfigurations>,
    held_polls: Arc<HeldPolls>,
    least: Duration,
) {
    const RETRY: Duration = Duration::from_secs(5);
    let mut pace = Pace::new(least);
    loop {
        pace.collect(compiler.changes()).await;
        configurations.changed();
        let begun = Instant::now();
        match compiler.recompile().await {
            Ok(assets) => {
                assets.iter().for_each(|asset| held_polls.wake(asset));
                pace.worked(begun, Instant::now(), assets.len());
            }
            Err(error) => {
                tracing::error!(reason = in_words(&error), "rulesets could not be compiled");
                tokio::time::sleep(RETRY).await;
                compiler.inventory_changed();
            }
        }
    }
}
