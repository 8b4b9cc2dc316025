//! Keeps the kernel's connection tracking consistent with the open connections of this host.

use xshield_firewall::conntrack::{Aligned, ConntrackError, Opened, UpdateLimits, align};
use xshield_firewall::{Firewall, KernelState};
use xshield_host::linux::connections::open_connections;
use xshield_host::linux::conntrack::{established_timeout, fullness};
use xshield_wire::telemetry::DebugArea;

use crate::problems::chain;
use crate::run::Run;
use crate::step::Step;
use crate::{reached, trace};

/// The timeout of entries added while a ruleset is in force, unless a packet arrives: longer than the time
/// between two runs, and short enough that connections that no rule ever sees (`notrack`) don't accumulate.
const BETWEEN_RUNS_SECONDS: u32 = 3_600;

/// Why connection tracking is not consistent.
#[derive(Debug, thiserror::Error)]
pub enum AlignError {
    /// The open connections can't be listed.
    #[error("listing the open connections of this host failed")]
    List(#[source] std::io::Error),
    /// Connection tracking can't be changed.
    #[error(transparent)]
    Tell(#[from] ConntrackError),
}

/// Tells connection tracking which side opened the open connections, where it does not know them or has the
/// wrong side. It needs no lock, since it only states facts.
///
/// # Errors
/// See [`AlignError`].
pub fn align_connection_tracking() -> Result<Aligned, AlignError> {
    told(established_timeout().min(BETWEEN_RUNS_SECONDS))
}

fn told(timeout_seconds: u32) -> Result<Aligned, AlignError> {
    let opened: Vec<Opened> = open_connections()
        .map_err(AlignError::List)?
        .into_iter()
        .map(|connection| Opened { from: connection.from, to: connection.to })
        .collect();
    // A full table drops everyone's packets, so half of it stays free.
    let room = fullness().map_or(u64::MAX, |(used, most)| (most / 2).saturating_sub(used));
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    Ok(align(&opened, UpdateLimits { timeout_seconds, room })?)
}

/// Called before the first rule that uses connection tracking. If this fails, connection tracking takes the
/// next side that sends for the opener, as it does without us; the rules are applied all the same.
pub(crate) fn introduce(run: &mut Run<'_>) {
    note_alignment(run, told(established_timeout()));
    reached::step(Step::Introduced);
}

/// Called while rules are in force (`has_threat_list`: those of a threat list): connection tracking may have
/// lost its entries (`conntrack -F`) and taken the next side that sent for the opener. If the firewall does
/// not answer, that is reported elsewhere: it does not end a run.
pub(crate) fn follow(run: &mut Run<'_>, firewall: &mut Firewall, has_threat_list: bool) {
    let is_asked =
        has_threat_list || firewall.state().is_ok_and(|state| state != KernelState::Absent);
    if is_asked {
        note_alignment(run, align_connection_tracking());
    }
}

fn note_alignment(run: &mut Run<'_>, aligned: Result<Aligned, AlignError>) {
    let consequence =
        "packets on open connections may be denied until the side that opened them sends one";
    match aligned {
        Ok(Aligned { new, turned, known, left_out }) => {
            trace::line(DebugArea::Rules, || {
                format!(
                    "connection tracking was told of {new} open connections, and who opened \
                     {turned} others; it knew {known}"
                )
            });
            if left_out > 0 {
                let text = format!(
                    "connection tracking was not told of {left_out} open connections, since half \
                     of its table is in use; {consequence}; raise nf_conntrack_max"
                );
                run.note("open-connections-unknown", text);
            }
        }
        Err(error) => {
            let text = format!("{consequence}: {}", chain(&error));
            run.note("open-connections-unknown", text);
        }
    }
}
