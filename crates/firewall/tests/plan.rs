//! The plan says about every packet what `policy::decide` says, in every rendering.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "common/mod.rs"]
mod common;

use common::{bound, packet};
use proptest::prelude::*;
use xshield_firewall::plan::eval::eval;
use xshield_firewall::{Capabilities, plan};
use xshield_policy::{Bound, Owner, Packet, Reason, RuleId, decide};

const NO_CGROUPS: Capabilities = Capabilities { cgroups: false, ..Capabilities::FULL };

/// What the plan leaves out because the kernel can't express it, left out of the specification, too.
fn expressible(mut bound: Bound, capabilities: &Capabilities) -> Bound {
    if !capabilities.cgroups {
        for rules in [&mut bound.outbound.blocks, &mut bound.outbound.allows] {
            rules.retain(|rule| !matches!(rule.owner, Some(Owner::Cgroup(_))));
        }
    }
    bound
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn the_plan_is_what_decide_says(bound in bound(), packets in proptest::collection::vec(packet(), 40)) {
        for capabilities in [Capabilities::FULL, Capabilities::PLAIN, NO_CGROUPS] {
            let plan = plan(&bound, &capabilities);
            let bound = expressible(bound.clone(), &capabilities);
            for packet in &packets {
                let wanted = decide(&bound, packet);
                let got = eval(&plan.sets, &plan.chains, packet);
                prop_assert_eq!(
                    got.verdict, wanted.verdict,
                    "{:?} {}: want {:?}\n{}\n{:#?}", capabilities, packet, wanted, plan, got.steps
                );
                if capabilities == Capabilities::FULL {
                    same_rule(&bound, packet, &wanted.reason, got.decided_by().map(|label| &**label))?;
                }
            }
        }
    }
}

/// The kernel names a rule that matches; when several do, not always the one that `decide` names.
fn same_rule(
    bound: &Bound,
    packet: &Packet,
    reason: &Reason,
    label: Option<&str>,
) -> Result<(), TestCaseError> {
    let label = label.unwrap_or("none");
    let fits = match reason {
        Reason::Failsafe(_) => label.starts_with("failsafe/"),
        Reason::NotSubject => matches!(label, "default/open" | "default/intranet"),
        Reason::NoRule => label == "default/closed",
        Reason::Block(_) | Reason::Allow(_) => {
            let mut alone = bound.clone();
            let id: RuleId =
                label.parse().map_err(|e| TestCaseError::fail(format!("{label}: {e}")))?;
            for direction in [&mut alone.inbound, &mut alone.outbound] {
                direction.blocks.retain(|rule| rule.id == id);
                direction.allows.retain(|rule| rule.id == id);
                if matches!(reason, Reason::Allow(_)) {
                    direction.blocks.clear();
                }
            }
            matches!(
                (decide(&alone, packet).reason, reason),
                (Reason::Block(_), Reason::Block(_)) | (Reason::Allow(_), Reason::Allow(_))
            )
        }
    };
    prop_assert!(fits, "{packet}: decide says {reason:?}, the plan names {label}");
    Ok(())
}
