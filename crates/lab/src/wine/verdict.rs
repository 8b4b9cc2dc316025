//! What a filter engine does to a packet, by the model of its arbitration.

use anyhow::{Result, bail};
use xshield_firewall::wfp::eval::{
    Assumption, CalloutAnswer, EnginePhase, LayerDecision, Ruling, Unknown, classify_all,
};
use xshield_firewall::wfp::model::EngineState;
use xshield_firewall::wfp::program::Programs;
use xshield_firewall::wfp::reading::Reading;
use xshield_firewall::wfp::traffic::classifications;
use xshield_policy::Packet;

/// A packet, and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The packet.
    pub packet: Packet,
    /// The decision.
    pub ruling: Ruling,
    /// The name of the filter that decided; `None` where none does.
    pub filter: Option<String>,
    /// Its number while it exists, by which events name it.
    pub id: Option<u64>,
}

/// The decision of a running filter engine about a flow's first packet. A packet that no filter matches
/// passes: where nothing is installed, nothing is enforced.
///
/// # Errors
/// When the decision depends on how the documentation is read, or differs between the layers at which the
/// packet may be classified.
pub fn judge(state: &EngineState, packet: &Packet) -> Result<Judged> {
    let mut judged: Option<Judged> = None;
    for (layer, facts) in classifications(packet, &Programs::new()) {
        let assumption =
            Assumption { callouts: CalloutAnswer::Continues, unknown: Unknown::Differs };
        let in_force = (EnginePhase::Running, assumption);
        for (reading, decision) in classify_all(state, &layer, &facts, in_force) {
            let now = decided(packet, decision);
            match &judged {
                None => judged = Some(now),
                Some(before) if before.ruling == now.ruling => {}
                Some(before) => bail!(disagreement(before, &now, &reading)),
            }
        }
    }
    judged.ok_or_else(|| anyhow::anyhow!("{packet:?} is classified at no layer"))
}

fn decided(packet: &Packet, decision: LayerDecision<'_>) -> Judged {
    let ruling = decision.by.map_or(Ruling::Permit, |_| decision.ruling);
    let filter = decision.by.map(|filter| filter.name.to_string());
    Judged { packet: packet.clone(), ruling, filter, id: decision.by.and_then(|filter| filter.id) }
}

fn disagreement(before: &Judged, now: &Judged, reading: &Reading) -> String {
    format!(
        "the decision about {:?} depends on how the documentation is read: {:?} by {:?}, and {:?} by {:?} \
         under {reading:?}",
        now.packet, before.ruling, before.filter, now.ruling, now.filter
    )
}
