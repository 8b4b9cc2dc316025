//! Any text is read as a filter engine's state or refused; whatever is read can be evaluated and reported.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_firewall::wfp::coexistence::coexistence;
use xshield_firewall::wfp::eval::{Assumption, CalloutAnswer, EnginePhase, Unknown, classify};
use xshield_firewall::wfp::matching::PacketFacts;
use xshield_firewall::wfp::names::Layer;
use xshield_firewall::wfp::program::Programs;
use xshield_firewall::wfp::reading::Reading;
use xshield_firewall::wfp::{difference, programmed, xml};

fuzz_target!(|text: &str| {
    let Ok(state) = xml::read(text) else { return };
    let assumption = Assumption { callouts: CalloutAnswer::Blocks, unknown: Unknown::Matches };
    for layer in Layer::planned() {
        let at = (EnginePhase::Running, assumption);
        let _outcome = classify(&state, &layer, &PacketFacts::default(), at, &Reading::USUAL);
    }
    let _changes = difference(None, &state);
    let _read = programmed(&state, &Programs::new());
    if state.filters.len() < 8 {
        let _report = coexistence(&state, &Programs::new());
    }
});
