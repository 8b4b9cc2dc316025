//! What is done about the audit policy of Windows: what the configuration asks for is compared with it at every
//! run, since group policy may take it back. Pure.

use std::collections::BTreeMap;

use xshield_host::windows_formats::audit::{Audited, Subcategory, missing};
use xshield_wire::message::Problem;

use crate::auditing::Auditing;

/// What follows from the audit policy of the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What is switched on.
    pub(crate) changes: BTreeMap<Subcategory, Audited>,
    /// What is reported.
    pub(crate) problem: Option<Problem>,
}

/// What must be audited.
fn wanted_of(auditing: Auditing) -> BTreeMap<Subcategory, Audited> {
    let failure = Audited { success: false, failure: true };
    let both = Audited { success: true, failure: true };
    match auditing {
        Auditing::Leave => BTreeMap::new(),
        Auditing::Denied => BTreeMap::from([
            (Subcategory::PacketDrops, failure),
            (Subcategory::Connections, failure),
        ]),
        Auditing::Flows => {
            BTreeMap::from([(Subcategory::PacketDrops, failure), (Subcategory::Connections, both)])
        }
    }
}

/// What to do where `present` is audited. `before`: what the last run had switched on.
pub(crate) fn decide(
    wanted: Auditing,
    before: Auditing,
    present: &BTreeMap<Subcategory, Audited>,
) -> Decision {
    if wanted == Auditing::Leave {
        let is_told = missing(present, &wanted_of(Auditing::Denied)).is_empty();
        return Decision { changes: BTreeMap::new(), problem: (!is_told).then(not_audited) };
    }
    let changes = missing(present, &wanted_of(wanted));
    let was_taken_back = wanted == before && !changes.is_empty();
    let problem = was_taken_back.then(|| taken_back(changes.keys().copied()));
    Decision { changes, problem }
}

fn not_audited() -> Problem {
    let text = "Windows does not write all denied connections and packets to its Security log, so they are \
                not reported: set 'auditing: denied' in the configuration, or switch on the failures of \
                'Filtering Platform Packet Drop' and 'Filtering Platform Connection' by group policy";
    Problem { code: "denials-not-audited".to_owned(), text: text.to_owned() }
}

fn taken_back(subcategories: impl Iterator<Item = Subcategory>) -> Problem {
    let names: Vec<&str> = subcategories.map(Subcategory::name).collect();
    let text = format!(
        "group policy or another program has switched off the auditing of {}, so flows since then were not \
         recorded; it is on again until the next time: switch it on by group policy as well",
        names.join(" and ")
    );
    Problem { code: "auditing-reverted".to_owned(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_switched_on_and_what_was_taken_back_is_reported() {
        use Auditing::{Denied, Flows, Leave};
        const OFF: Audited = Audited { success: false, failure: false };
        const FAILURE: Audited = Audited { success: false, failure: true };
        const BOTH: Audited = Audited { success: true, failure: true };
        // Wanted, before, audited of packet drops and of connections; switched on, problem.
        #[rustfmt::skip]
        let table = [
            (Leave, Leave, OFF, OFF, vec![], Some("denials-not-audited")),
            (Leave, Denied, FAILURE, OFF, vec![], Some("denials-not-audited")),
            (Leave, Leave, FAILURE, FAILURE, vec![], None),
            (Denied, Leave, OFF, OFF, vec![FAILURE, FAILURE], None),
            (Denied, Denied, FAILURE, BOTH, vec![], None),
            (Denied, Denied, FAILURE, OFF, vec![FAILURE], Some("auditing-reverted")),
            (Denied, Flows, FAILURE, OFF, vec![FAILURE], None),
            (Flows, Denied, FAILURE, FAILURE, vec![BOTH], None),
            (Flows, Flows, FAILURE, FAILURE, vec![BOTH], Some("auditing-reverted")),
            (Flows, Flows, BOTH, BOTH, vec![], None),
        ];
        for (wanted, before, drops, connections, changes, code) in table {
            let present = BTreeMap::from([
                (Subcategory::PacketDrops, drops),
                (Subcategory::Connections, connections),
            ]);
            let decision = decide(wanted, before, &present);
            let found: Vec<Audited> = decision.changes.values().copied().collect();
            assert_eq!(found, changes, "{wanted:?} after {before:?}: {present:?}");
            let found = decision.problem.map(|problem| problem.code);
            assert_eq!(found.as_deref(), code, "{wanted:?} after {before:?}: {present:?}");
        }
    }

    #[test]
    fn a_problem_names_what_was_switched_off() {
        let decision = decide(Auditing::Flows, Auditing::Flows, &BTreeMap::new());
        let text = decision.problem.unwrap().text;
        assert!(text.contains("'Filtering Platform Packet Drop' and 'Filtering"), "{text}");
    }
}
