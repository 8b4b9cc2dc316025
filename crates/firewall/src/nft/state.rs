//! Interprets the rules of the base chains: which ruleset is in which slot, and which one is in force.

use super::encode::Hook;
use super::slot;
use crate::installed::{InstalledRuleset, KernelState, Slot};
use crate::plan::{Condition, ENTRY_FORWARD, ENTRY_IN, Line, Next};

/// The target of the leading rule of a ruleset that judges forwarded packets, or does not.
pub(super) fn leading_to(hook: Hook, judges_forwarded: bool) -> Next {
    match hook {
        Hook::Forward if !judges_forwarded => Next::Accept,
        Hook::Input | Hook::Output | Hook::Forward => Next::Goto(hook.entry().to_owned()),
    }
}

/// The rule that leads to a ruleset.
pub(super) fn leading_rule(
    condition: Option<Condition>,
    next: Next,
    standing: InstalledRuleset,
) -> (Line, Slot) {
    let line = Line {
        conditions: condition.into_iter().collect(),
        counted: false,
        effect: None,
        next: Some(next),
        label: Some(slot::comment(&standing).into()),
    };
    (line, standing.slot)
}

/// The state according to the leading rules.
pub(super) fn state(
    input: &[Line],
    output: &[Line],
    forward: Option<&Vec<Line>>,
    over: bool,
    chains: &[String],
) -> KernelState {
    let leads = |lines, hook| leads(lines, hook, chains);
    let (inward, outward) = (leads(input, Hook::Input), leads(output, Hook::Output));
    let damaged = |what: &str| KernelState::Damaged { what: what.to_owned() };
    let (Some(inward), Some(outward)) = (inward, outward) else {
        return damaged("the base chains contain rules of others or of another version");
    };
    if inward != outward {
        return damaged("the base chains lead to different rulesets");
    }
    let judged = inward.iter().any(|(_, standing)| judges_forwarded(*standing, chains));
    match forward {
        None if judged => return damaged("the base chain of forwarded packets is missing"),
        Some(lines) if judged && leads(lines, Hook::Forward).as_ref() != Some(&inward) => {
            return damaged("forwarded packets are not sent to the ruleset");
        }
        Some(lines) if !judged && !lines.is_empty() => {
            return damaged("the base chain of forwarded packets contains unexpected rules");
        }
        _ => {}
    }
    let stands = |standing: &InstalledRuleset| {
        let name = slot::kernel_name(ENTRY_IN, Some(standing.slot));
        chains.contains(&name)
    };
    match inward[..] {
        [] => KernelState::Absent,
        [(false, standing)] if stands(&standing) => KernelState::InForce(standing),
        [(true, new)] => KernelState::Trial { new, old: None, over },
        [(true, new), (false, old)] => KernelState::Trial { new, old: Some(old), over },
        _ => damaged("the base chains refer to no ruleset"),
    }
}

/// For each rule, whether it depends on the probation, and its ruleset. `None` for rules that are not ours.
fn leads(lines: &[Line], hook: Hook, chains: &[String]) -> Option<Vec<(bool, InstalledRuleset)>> {
    let lead = |line: &Line| {
        let standing = slot::parse_comment(line.label.as_deref()?)?;
        let on_trial = match line.conditions[..] {
            [] => false,
            [Condition::OnProbation] => true,
            _ => return None,
        };
        let wanted = leading_to(hook, judges_forwarded(standing, chains));
        (line.next.as_ref() == Some(&wanted)).then_some((on_trial, standing))
    };
    lines.iter().map(lead).collect()
}

/// Whether a ruleset in the kernel judges forwarded packets.
pub(super) fn judges_forwarded(standing: InstalledRuleset, chains: &[String]) -> bool {
    chains.contains(&slot::kernel_name(ENTRY_FORWARD, Some(standing.slot)))
}
