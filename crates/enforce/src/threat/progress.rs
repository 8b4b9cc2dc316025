//! What runs remember about threats, beside the lists.

use serde::{Deserialize, Serialize};
use xshield_firewall::flows::{Differ, Losses};
use xshield_wire::message::UnixSeconds;

/// Positions, counters, and how the order stands.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreatProgress {
    /// Where the recorder of matches was last read.
    pub flows: Differ,
    /// The recorder's own count of losses when it was last read, and which recorder that was.
    pub recorder_lost: Losses,
    /// When the recorder was last read.
    pub last_collected: Option<UnixSeconds>,
    /// Losses not yet reported.
    pub lost: u64,
    /// The boot and the kernel's ruleset generation at which the list was last found as it should be.
    pub seen: Option<(String, u32)>,
    /// The highest sequence of an order that was ever taken here.
    pub floor: u64,
    /// The order of that sequence, as it was signed: evidence for a platform that forgot it.
    pub newest: Option<String>,
    /// When the list in the kernel was last compared entry by entry and found equal.
    pub verified_at: Option<UnixSeconds>,
    /// From when on the time until the next comparison counts.
    pub verify_from: Option<UnixSeconds>,
    /// Why the order is not carried out, when it is not.
    pub failure: Option<String>,
}
