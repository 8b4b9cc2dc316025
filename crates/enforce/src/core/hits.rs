//! Hit counters: each packet is reported once, across runs and rulesets.

use std::collections::BTreeMap;

use xshield_firewall::{Hit, Programmed};
use xshield_policy::RuleId;
use xshield_wire::message::RuleHits;

/// Hit counters as last reported, by direction and rule.
pub(crate) type LastHits = BTreeMap<String, (u64, u64)>;

/// What was added to each counter since `last`, which becomes the current reading. A counter that decreased
/// was created anew.
fn differences(hits: &[Hit], last: &mut LastHits) -> Vec<RuleHits> {
    let mut now = LastHits::new();
    let mut differences = Vec::new();
    for hit in hits {
        let Ok(rule) = RuleId::try_from(hit.rule.clone()) else { continue };
        let key = format!("{} {}", hit.direction, hit.rule);
        let (packets, bytes) = last.get(&key).copied().unwrap_or_default();
        let restarted = hit.packets < packets || hit.bytes < bytes;
        let base = if restarted { (0, 0) } else { (packets, bytes) };
        if hit.packets > base.0 {
            differences.push(RuleHits {
                rule,
                direction: hit.direction,
                packets: hit.packets - base.0,
                bytes: hit.bytes - base.1,
            });
        }
        now.insert(key, (hit.packets, hit.bytes));
    }
    *last = now;
    differences
}

/// What was added since the last report: `last`, for the plan `of`. The last hits of a ruleset that was just
/// replaced are included.
pub(crate) fn since(
    programmed: &Programmed,
    last: &mut LastHits,
    of: &mut Option<String>,
) -> Vec<RuleHits> {
    let plan = programmed.digest.to_string();
    let mut hits = Vec::new();
    if of.as_ref() != Some(&plan) {
        hits = differences(&programmed.final_hits, last);
        last.clear();
        *of = Some(plan);
    }
    hits.extend(differences(&programmed.hits, last));
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_firewall::programmed::Action;
    use xshield_policy::Direction;

    fn hit(rule: &str, packets: u64) -> Hit {
        Hit {
            rule: rule.to_owned(),
            direction: Direction::Inbound,
            action: Action::Allow,
            packets,
            bytes: packets * 100,
        }
    }

    #[test]
    fn hits_are_counted_once_and_a_reset_counter_starts_again() {
        let mut last = LastHits::new();
        let mut packets = |hits: &[Hit]| -> Vec<u64> {
            differences(hits, &mut last).iter().map(|hits| hits.packets).collect()
        };
        assert_eq!(packets(&[hit("t/a", 5), hit("t/b", 0)]), [5]);
        assert_eq!(packets(&[hit("t/a", 5), hit("t/b", 1)]), [1]);
        assert_eq!(packets(&[hit("t/a", 7)]), [2]);
        assert_eq!(packets(&[hit("t/a", 3), hit("t/b", 1)]), [3, 1]);
    }

    #[test]
    fn the_last_hits_of_a_ruleset_are_reported_with_the_first_of_the_next() {
        let read = |plan: u8, hits: u64, final_hits: &[Hit]| Programmed {
            digest: xshield_firewall::plan::Digest([plan; 32]),
            hits: vec![hit("t/a", hits)],
            final_hits: final_hits.to_vec(),
            ..Programmed::default()
        };
        let (mut last, mut of) = (LastHits::new(), None);
        let mut told = |programmed: &Programmed| -> Vec<u64> {
            since(programmed, &mut last, &mut of).iter().map(|hits| hits.packets).collect()
        };
        assert_eq!(told(&read(1, 5, &[])), [5]);
        assert_eq!(told(&read(1, 6, &[])), [1]);
        assert_eq!(told(&read(2, 3, &[hit("t/a", 8)])), [2, 3]);
        assert_eq!(told(&read(2, 3, &[])), [0; 0]);
    }
}
