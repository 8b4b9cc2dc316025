//! Any event, as XML or JSON, is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::windows_logs::{Event, Fields, OwnAddresses, Repeats, read_xml};

fuzz_target!(|text: &str| {
    let own: OwnAddresses = [[10, 0, 0, 9].into()].into_iter().collect();
    let read = [read_xml(text).ok(), Fields::from_json(text).ok()];
    let mut repeats = Repeats::default();
    for fields in read.into_iter().flatten() {
        if let Ok(Some(Event::Flow(flow))) = Event::read(&fields, &own) {
            let _detail = (flow.detail(), flow.is_late_answer(), repeats.is_repeat(&flow));
        }
    }
});
