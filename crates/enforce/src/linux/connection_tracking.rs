//! Keeping the kernel's connection tracking in step with the connections of this host.

use xshield_firewall::conntrack::{Aligned, ConntrackError, Opened, Telling, align};
use xshield_firewall::{Firewall, KernelState};
use xshield_host::linux::connections::open_connections;
use xshield_host::linux::conntrack::{established_timeout, fullness};
use xshield_wire::telemetry::DebugArea;

use crate::problems::chain;
use crate::run::Run;
use crate::step::Step;
use crate::{reached, trace};

/// For how long connection tracking remembers what it is told beside a ruleset in force, unless a packet
/// comes: longer than there is between two runs, and short enough that connections which no rule ever
/// sees (`notrack`) don't pile up.
const BETWEEN_RUNS_SECONDS: u32 = 3_600;

/// Why connection tracking is not in step.
#[derive(Debug, thiserror::Error)]
pub enum AlignError {
    /// The connections are not known.
    #[error("listing the open connections of this host failed")]
    List(#[source] std::io::Error),
    /// Connection tracking can't be told.
    #[error(transparent)]
    Tell(#[from] ConntrackError),
}

/// Tells connection tracking who opened the connections that are open, where it does not know or took
/// the other side for the opener. It needs no lock: it says what is so.
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
    // A full table drops packets of everyone, so half of it stays free.
    let room = fullness().map_or(u64::MAX, |(used, most)| (most / 2).saturating_sub(used));
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    Ok(align(&opened, Telling { timeout_seconds, room })?)
}

/// Before the first rule that asks connection tracking. Where it can't be told, it takes whoever speaks
/// next for the opener, as it does without us; the rules come all the same.
pub(crate) fn introduce(run: &mut Run<'_>) {
    note_alignment(run, told(established_timeout()));
    reached::step(Step::Introduced);
}

/// Where rules are in force (`has_threat_list`: those of a threat list): connection tracking may have lost
/// what it knew (`conntrack -F`), and took whoever spoke next for the opener. A firewall that does not
/// answer is told of where it is needed: this is no reason to end a run.
pub(crate) fn follow(run: &mut Run<'_>, firewall: &mut Firewall, has_threat_list: bool) {
    let is_asked =
        has_threat_list || firewall.state().is_ok_and(|state| state != KernelState::Absent);
    if is_asked {
        note_alignment(run, align_connection_tracking());
    }
}

fn note_alignment(run: &mut Run<'_>, aligned: Result<Aligned, AlignError>) {
    let consequence = "packets on connections that are open already may be denied until the side that \
                       opened them speaks";
    match aligned {
        Ok(Aligned { new, turned, known, left_out }) => {
            trace::line(DebugArea::Rules, || {
                format!(
                    "connection tracking was told of {new} open connections, and who opened {turned} \
                     others; it knew {known}"
                )
            });
            if left_out > 0 {
                let text = format!(
                    "connection tracking was not told of {left_out} open connections, since half of \
                     its table is in use; {consequence}; raise nf_conntrack_max"
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
