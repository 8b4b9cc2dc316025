//! What runs remember about threats besides the lists.

use serde::{Deserialize, Serialize};
use xshield_firewall::flows::{Differ, Losses};
use xshield_wire::message::UnixSeconds;

/// Positions, counters, and the state of the order.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreatProgress {
    /// The position in the recorder of matches.
    pub flows: Differ,
    /// The recorder's own count of losses when it was last read, and which recorder that was.
    pub recorder_lost: Losses,
    /// When the recorder was last read.
    pub last_collected: Option<UnixSeconds>,
    /// Losses not yet reported.
    pub lost: u64,
    /// The boot and the kernel's ruleset generation at which the list was last found correct.
    pub seen: Option<(String, u32)>,
    /// The highest sequence number of an order that was ever accepted here.
    pub floor: u64,
    /// The order with that number, as signed: evidence for a platform that lost it.
    pub newest: Option<String>,
    /// When the list in the kernel was last compared entry by entry and found equal.
    pub verified_at: Option<UnixSeconds>,
    /// The beginning of the interval until the next comparison.
    pub verify_from: Option<UnixSeconds>,
    /// Why the order is not carried out, if it is not.
    pub failure: Option<String>,
}
