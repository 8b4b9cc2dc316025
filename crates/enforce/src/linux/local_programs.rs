//! The programs of rules among the processes of this host.

use std::collections::BTreeSet;

use xshield_firewall::Capabilities;
use xshield_host::linux::local::{self, CgroupMatching, Lookalike, Lookalikes};
use xshield_host::linux::sockets::ListeningSocket;
use xshield_policy::{LocalProgram, Ruleset};
use xshield_wire::message::Problem;

use crate::recognised::Recognised;

/// Searches the programs of inbound rules among the processes that hold these sockets, and those of outbound
/// rules among all processes.
pub(crate) fn recognise(
    ruleset: &Ruleset,
    (inbound, outbound): (&BTreeSet<LocalProgram>, &BTreeSet<LocalProgram>),
    sockets: &[ListeningSocket],
    capabilities: &Capabilities,
) -> Recognised {
    let matching = match capabilities.cgroups {
        true => CgroupMatching::Available,
        false => CgroupMatching::Missing,
    };
    let found = local::recognise(inbound, outbound, sockets, matching);
    let local::Recognised { listeners, absent, unknown, owners, lookalikes: seen } = found;
    let problems = lookalikes(ruleset, &seen);
    Recognised { listeners, absent, unknown, owners, problems }
}

/// The most lookalike processes reported in one run; the others are counted.
const MOST_IMPOSTORS: usize = 20;

/// Processes that look like a program of a rule but are not accepted as such, as problems.
fn lookalikes(ruleset: &Ruleset, found: &[Lookalikes]) -> Vec<Problem> {
    let mut told = Vec::new();
    let mut more = 0;
    for lookalikes in found {
        let Lookalikes { program, direction, .. } = lookalikes;
        let meant = ruleset
            .direction(*direction)
            .rules()
            .filter(|rule| rule.program().as_ref() == Some(program));
        let rule = meant.map(|rule| rule.id.as_str()).next().unwrap_or("-");
        more += lookalikes.more;
        for Lookalike { pid, user, executable, reason } in &lookalikes.told {
            if told.len() == MOST_IMPOSTORS {
                more += 1;
                continue;
            }
            told.push(format!(
                "rule {rule} ({direction}) is for {program}: process {pid} (user {user}, \
                 {executable}) looks like it but is not: {reason}"
            ));
        }
    }
    if more > 0 {
        told.push(format!("{more} more processes look like a program of a rule but are not"));
    }
    let problem = |text| Problem { code: "process-impostor".to_owned(), text };
    told.into_iter().map(problem).collect()
}
