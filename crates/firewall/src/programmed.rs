//! The ruleset as read from the kernel: comparable with a plan, with counts and explanations.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use xshield_policy::{Direction, ForwardedPacket, Packet, Revision, Verdict};

use crate::flows::Losses;
use crate::plan::eval::{EvalStep, Evaluation, eval, eval_forwarded};
use crate::plan::{
    Chain, Condition, Digest, Line, Naming, Plan, Set, records_forwarded, write_chain, write_line,
    write_set,
};
use crate::wfp::listing::{write_layer, write_step};

/// The number of changes of all tables in a network namespace (`NFT_MSG_GETGEN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Generation(pub u32);

impl Generation {
    /// The one after a single change; the kernel skips zero.
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1).max(1))
    }
}

/// In whose words a ruleset is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Notation {
    /// Those of nft.
    #[default]
    Nftables,
    /// Those of the Windows Filtering Platform.
    FilterEngine,
}

/// A ruleset as read from the kernel.
#[derive(Debug, Clone, Default)]
pub struct Programmed {
    /// How it is shown.
    pub notation: Notation,
    /// Its slot: `a` or `b`.
    pub slot: char,
    /// The revision from which it was made.
    pub revision: Revision,
    /// The digest of the plan from which it was made; [`Programmed::differences`] shows whether it still is
    /// that plan.
    pub digest: Digest,
    /// The generation at which it was read.
    pub generation: Generation,
    /// Its sets.
    pub sets: Vec<Set>,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// Names of the recorder's sets.
    pub recorder_sets: Vec<String>,
    /// The recorder's chains.
    pub recorder_chains: Vec<Chain>,
    /// Chains and sets in our table that are not ours.
    pub foreign: Vec<String>,
    /// Packets by rule since the ruleset was put in force.
    pub hits: Vec<Hit>,
    /// The recorder's losses.
    pub losses: Losses,
    /// The last hits of the replaced ruleset, if this one just replaced one.
    pub final_hits: Vec<Hit>,
}

/// The effect of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A failsafe flow was accepted.
    Failsafe,
    /// A block rule matched.
    Block,
    /// An allow rule matched.
    Allow,
    /// Level and mode decided.
    Default,
}

/// How often a rule decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The rule's id; `failsafe/…` and `default/…` for what is not a rule of policy.
    pub rule: String,
    /// The direction of the flows.
    pub direction: Direction,
    /// The rule's effect.
    pub action: Action,
    /// Packets of those flows, in both directions.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A difference between the wanted and the actual content of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// For people: which chain or set, the wanted and the actual content.
    pub text: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The most differences named per set or chain; the others are counted.
const TOLD: usize = 5;

impl Programmed {
    /// Whether both are the same except for counts.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_same_ruleset(&self, other: &Self) -> bool {
        let rules = |read: &Self| {
            let Self { slot, revision, digest, .. } = read;
            (*slot, *revision, *digest)
        };
        rules(self) == rules(other)
            && self.sets == other.sets
            && self.chains == other.chains
            && self.recorder_sets == other.recorder_sets
            && self.recorder_chains == other.recorder_chains
            && self.foreign == other.foreign
    }

    /// The differences between the kernel's content and the plan; empty if there are none.
    #[must_use]
    pub fn differences(&self, plan: &Plan) -> Vec<Drift> {
        let mut drift: Vec<Drift> = self
            .foreign
            .iter()
            .map(|name| Drift { text: format!("{name}: not ours, but in our table") })
            .collect();
        compare_sets(&plan.sets, &self.sets, &mut drift);
        compare_chains(&plan.chains, &self.chains, &mut drift);
        let recorders = [&plan.recorder, &plan.forwarded_recorder];
        let chains: Vec<Chain> = recorders.iter().flat_map(|r| &r.chains).cloned().collect();
        // The recorder of forwarded traffic stays even if it is no longer needed.
        let judges = plan.judges_forwarded();
        let there = self.recorder_chains.iter().filter(|c| judges || !records_forwarded(&c.name));
        compare_chains(&chains, &there.cloned().collect::<Vec<_>>(), &mut drift);
        let present: HashSet<&str> = self.recorder_sets.iter().map(String::as_str).collect();
        let sets = recorders.iter().flat_map(|recorder| &recorder.sets);
        for set in sets.filter(|set| !present.contains(set.name.as_str())) {
            drift.push(Drift { text: format!("set {}: missing", set.name) });
        }
        drift
    }
}

impl fmt::Display for Programmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.notation == Notation::FilterEngine {
            return self.chains.iter().try_for_each(|chain| write_layer(f, chain));
        }
        let naming = Naming::Slot(self.slot);
        for set in &self.sets {
            write_set(f, set, naming)?;
        }
        for chain in self.recorder_chains.iter().chain(&self.chains) {
            write_chain(f, chain, naming)?;
        }
        Ok(())
    }
}

fn compare_sets(wanted: &[Set], got: &[Set], drift: &mut Vec<Drift>) {
    let found: HashMap<&str, &Set> = got.iter().map(|set| (set.name.as_str(), set)).collect();
    let mut say = |set: &Set, what: String| {
        drift.push(Drift { text: format!("set {}: {what}", set.name) });
    };
    for set in wanted {
        let Some(other) = found.get(set.name.as_str()) else {
            say(set, "missing".to_owned());
            continue;
        };
        if (&set.key, set.shape, set.counted) != (&other.key, other.shape, other.counted) {
            say(set, "has another type than expected".to_owned());
        }
        if set.elements == other.elements {
            continue;
        }
        let (before, after): (HashSet<_>, HashSet<_>) =
            (set.elements.iter().collect(), other.elements.iter().collect());
        let mut told: Vec<String> = before
            .difference(&after)
            .map(|element| format!("element of rule {} missing", element.label))
            .chain(
                after.difference(&before).map(|e| format!("element added, comment {:?}", e.label)),
            )
            .collect();
        told.sort_unstable();
        let rest = told.len().saturating_sub(TOLD);
        told.truncate(TOLD);
        told.into_iter().for_each(|what| say(set, what));
        if rest > 0 {
            say(set, format!("and {rest} more differences"));
        }
    }
    let names: HashSet<&str> = wanted.iter().map(|set| set.name.as_str()).collect();
    for set in got.iter().filter(|set| !names.contains(set.name.as_str())) {
        say(set, "should not be there".to_owned());
    }
}

fn compare_chains(wanted: &[Chain], got: &[Chain], drift: &mut Vec<Drift>) {
    let found: HashMap<&str, &Chain> =
        got.iter().map(|chain| (chain.name.as_str(), chain)).collect();
    let text = |line: Option<&Line>| {
        let mut text = String::new();
        match line {
            Some(line) => {
                write_line(&mut text, line, Naming::Plain).map_or(text.clone(), |()| text)
            }
            None => "nothing".to_owned(),
        }
    };
    for chain in wanted {
        let mut say = |what: String| {
            drift.push(Drift { text: format!("chain {}: {what}", chain.name) });
        };
        let Some(other) = found.get(chain.name.as_str()) else {
            say("missing".to_owned());
            continue;
        };
        let length = chain.lines.len().max(other.lines.len());
        let mut differing =
            (0..length).filter(|&at| chain.lines.get(at) != other.lines.get(at)).peekable();
        for at in differing.by_ref().take(TOLD) {
            let (wanted, got) = (text(chain.lines.get(at)), text(other.lines.get(at)));
            say(format!("rule {}: want {wanted}, got {got}", at + 1));
        }
        let rest = differing.count();
        if rest > 0 {
            say(format!("and {rest} more differences"));
        }
    }
    let names: HashSet<&str> = wanted.iter().map(|chain| chain.name.as_str()).collect();
    for chain in got.iter().filter(|chain| !names.contains(chain.name.as_str())) {
        drift.push(Drift { text: format!("chain {}: should not be there", chain.name) });
    }
}

/// Which of the kernel's rules decides about a packet, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule's id, `failsafe/…` or `default/…`.
    pub rule: Option<String>,
    /// The kernel's rules that match the packet, in order, as text.
    pub steps: Vec<String>,
    /// An additional remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Rules of other programs in our table may change the result.
    pub uncertain: bool,
}

impl Explanation {
    /// The same with this note, in place of any other.
    #[must_use]
    pub fn with_note(self, note: String) -> Self {
        Self { note: Some(note), ..self }
    }

    /// The verdict as text.
    #[must_use]
    pub fn verdict_in_words(&self) -> &'static str {
        match self.verdict {
            Verdict::Allow => "allowed",
            Verdict::Deny => "denied",
            Verdict::WouldDeny => "let through, but would be denied in enforce mode",
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = self.verdict_in_words();
        writeln!(f, "{verdict} by {}", self.rule.as_deref().unwrap_or("no rule"))?;
        if let Some(note) = &self.note {
            writeln!(f, "  note: {note}")?;
        }
        if self.uncertain {
            writeln!(f, "  warning: our chains contain rules that are not ours")?;
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

/// Explains what the kernel does to the first packet of a flow, from what was read back.
#[must_use]
pub fn explain(programmed: &Programmed, packet: &Packet) -> Explanation {
    let chains = all_chains(programmed);
    explained(programmed, &chains, eval(&programmed.sets, &chains, packet))
}

fn explained(programmed: &Programmed, chains: &[Chain], outcome: Evaluation) -> Explanation {
    let is_foreign = |condition: &Condition| matches!(condition, Condition::Foreign(_));
    let uncertain = chains
        .iter()
        .flat_map(|chain| &chain.lines)
        .any(|line| line.conditions.iter().any(is_foreign));
    let steps = outcome.steps.iter().map(|step| describe(step, chains, programmed)).collect();
    let rule = outcome.decided_by().map(ToString::to_string);
    Explanation { verdict: outcome.verdict, rule, steps, note: None, uncertain }
}

/// The same for a forwarded packet.
#[must_use]
pub fn explain_forwarded(programmed: &Programmed, packet: &ForwardedPacket) -> Explanation {
    let chains = all_chains(programmed);
    let explained =
        explained(programmed, &chains, eval_forwarded(&programmed.sets, &chains, packet));
    // If no such packet is judged, there is no rule to name.
    let rule = explained.rule.or_else(|| Some("default/left-alone".to_owned()));
    Explanation { rule, ..explained }
}

fn all_chains(programmed: &Programmed) -> Vec<Chain> {
    programmed.chains.iter().chain(&programmed.recorder_chains).cloned().collect()
}

fn describe(step: &EvalStep, chains: &[Chain], programmed: &Programmed) -> String {
    let naming = Naming::Slot(programmed.slot);
    let mut text = match programmed.notation {
        Notation::Nftables => format!("{}: ", step.chain),
        Notation::FilterEngine => String::new(),
    };
    let chain = chains.iter().find(|chain| chain.name == step.chain);
    if let Some(line) = chain.and_then(|chain| chain.lines.get(step.line)) {
        // Writing to a String doesn't fail.
        let _ = match programmed.notation {
            Notation::Nftables => write_line(&mut text, line, naming),
            Notation::FilterEngine => write_step(&mut text, &step.chain, line),
        };
    }
    if let Some((set, element)) = &step.element {
        text.push_str(&format!(" (element of {set}, rule {})", element.label));
    }
    text
}
