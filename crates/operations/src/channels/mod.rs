//! Channels over which alerts are delivered, and the record of the deliveries.

mod change;
mod deliveries;
mod engine;
mod read;
mod secret;
#[cfg(test)]
mod tests;

pub use change::{delete, put, test};
pub use deliveries::{delivery, list_deliveries};
pub use engine::ChannelEngine;
pub use read::{get, list};
