//! Reports of flow events.

use xshield_wire::message::{EventReport, FirewallEvent, ReportBody};

use crate::run::Run;

/// The most events in one report; more are split into several reports.
const EVENTS_PER_REPORT: usize = 5_000;

/// Reports events, and how many could not be reported: `lost` and what the run counted before.
pub(crate) fn report(run: &mut Run<'_>, events: &[FirewallEvent], lost: u64) {
    let mut lost = std::mem::take(&mut run.progress.lost) + lost;
    let mut chunks = events.chunks(EVENTS_PER_REPORT).map(<[_]>::to_vec).collect::<Vec<_>>();
    if chunks.is_empty() && lost > 0 {
        chunks.push(Vec::new());
    }
    for events in chunks {
        run.put(ReportBody::Events(EventReport { events, lost: std::mem::take(&mut lost) }));
    }
}
