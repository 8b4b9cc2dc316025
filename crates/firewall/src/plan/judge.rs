//! The chains that judge a direction's packets: failsafe, then the enforced stance, then the tested one.
//!
//! A direction with one stance has one chain for each direction of its packets. With two, the opener's
//! packets that the enforced stance accepts continue:
//!
//! ```text
//! in_orig          failsafe, blocks → deny; allows → in_orig_passed; level → deny, in_orig_tested
//! in_orig_passed   an allow rule that counts in both stances: in_orig_blocks, then let through
//! in_orig_tested   everything else: in_orig_blocks, then the allows and the level of the tested stance
//! in_orig_blocks   blocks of the tested stance → would deny
//! ```
//!
//! Answers are judged only by the enforced stance: a test drops nothing, and records the opener's packets.

use std::collections::HashMap;

use xshield_policy::protocol::{TCP, UDP};
use xshield_policy::{
    BoundDirection, BoundRule, BoundStance, Direction, Mode, Owner, RuleId, Subject, Unenforceable,
};

use super::builder::{Builder, View, failsafe_entries, intranet_set, line, with};
use super::fixed;
use super::group::{Group, Verb, only_tested};
use super::live::live_line;
use super::model::{Condition, Effect, Family, Field, Line, Next, State};
use super::recorder::{pass_chain, record_chain, way};
use super::sets::shapes;
use super::shapes::{Entry, set_ranges};
use super::stage::{Place, Stage};
use crate::FlowKind;

/// Log lines per second and direction, and the size of a burst.
const LOG_RATE: (u64, u32) = (10, 20);

fn denied_reply_chain(view: View) -> String {
    format!("{}_denied", view.name())
}

fn passed_chain(view: View) -> String {
    format!("{}_passed", view.name())
}

fn tested_chain(view: View) -> String {
    format!("{}_tested", view.name())
}

fn tested_blocks_chain(view: View) -> String {
    format!("{}_blocks", view.name())
}

impl Builder<'_> {
    pub(super) fn direction(&mut self, direction: Direction) {
        let BoundDirection { enforced, tested } = self.bound.direction(direction);
        match tested {
            None => self.one_stance(direction, enforced, Mode::Enforce),
            Some(tested) if only_tested(self.bound.direction(direction)) => {
                self.one_stance(direction, tested, Mode::Test);
            }
            Some(tested) => self.two_stances(direction, enforced, tested),
        }
    }

    fn one_stance(&mut self, direction: Direction, stance: &BoundStance, mode: Mode) {
        let stage = Stage { subject: stance.subject, mode, place: Place::Alone };
        let groups = [
            self.failsafe(direction),
            self.group(Verb::Block, &stance.blocks, direction),
            self.group(Verb::Allow, &stance.allows, direction),
        ];
        let is_blocking = !stance.blocks.is_empty();
        for reply in [false, true] {
            self.view(View::own(direction, reply), stage, &groups);
        }
        if let Some(view) = self.forwarded_view(direction) {
            self.view(view, stage, &groups);
            self.denials(view, stage, is_blocking);
        }
        self.answers(direction, &groups.each_ref());
        self.keep_sets(groups);
        self.denials(View::own(direction, false), stage, is_blocking);
    }

    fn two_stances(&mut self, direction: Direction, enforced: &BoundStance, tested: &BoundStance) {
        let first = Stage { subject: enforced.subject, mode: Mode::Enforce, place: Place::First };
        let second = Stage { subject: tested.subject, mode: Mode::Test, place: Place::Second };
        // Rules in both stances are looked up once, in the enforced one.
        let (both, enforced_only) = parted(&enforced.allows, &tested.allows);
        let (_, tested_only) = parted(&tested.allows, &enforced.allows);
        let (_, more_blocks) = parted(&tested.blocks, &enforced.blocks);
        let groups = [
            self.failsafe(direction),
            self.group(Verb::Block, &enforced.blocks, direction),
            self.group(Verb::Allow, both, direction),
            self.group(Verb::AllowEnforced, enforced_only, direction),
        ];
        let blocks = self.group(Verb::BlockTested, more_blocks, direction);
        let allows = self.group(Verb::AllowTested, tested_only, direction);

        for reply in [false, true] {
            self.view(View::own(direction, reply), first, &groups);
        }
        let forwarded = self.forwarded_view(direction);
        if let Some(view) = forwarded {
            self.view(view, first, &groups);
        }
        let [failsafe, block, allow, enforced_only] = &groups;
        self.answers(direction, &[failsafe, block, &blocks, allow, enforced_only, &allows]);

        let is_blocking = !blocks.shapes.is_empty();
        for view in [View::own(direction, false)].into_iter().chain(forwarded) {
            self.tested(view, second, &blocks, &allows);
            self.denials(view, first, !enforced.blocks.is_empty());
            self.denials(view, second, is_blocking);
        }
        self.keep_sets(groups.into_iter().chain([blocks, allows]));
    }

    /// The tested stance, for packets of the opener only.
    fn tested(&mut self, view: View, stage: Stage, blocks: &Group, allows: &Group) {
        let pass = self.pass(view);
        let mut passed = Vec::new();
        let mut tested = Vec::new();
        if !blocks.shapes.is_empty() {
            let mut lines = Vec::new();
            self.lines(view, blocks, &stage.denial(view, "block"), &mut lines);
            self.chain(tested_blocks_chain(view), lines);
            let jump = line(Vec::new(), Next::Jump(tested_blocks_chain(view)));
            passed.push(jump.clone());
            tested.push(jump);
        }
        passed.push(line(Vec::new(), pass.clone()));
        self.chain(passed_chain(view), passed);
        self.lines(view, allows, &pass, &mut tested);
        self.level(view, stage, &mut tested);
        self.chain(tested_chain(view), tested);
    }

    /// A stance with its own sets, in addition to those of its direction.
    pub(super) fn stance_apart(&mut self, view: View, stance: &BoundStance, mode: Mode) {
        let stage = Stage { subject: stance.subject, mode, place: Place::Alone };
        let failsafe = failsafe_entries(&self.bound.failsafe, view.direction);
        let blocks = self.entries(&stance.blocks, view.direction);
        let allows = self.entries(&stance.allows, view.direction);
        let group = |verb: Verb, entries: &[Entry]| {
            let prefix = format!("{}_fwd", verb.sets(view.direction));
            Group { verb, shapes: shapes(entries, &prefix, self.capabilities) }
        };
        let groups = [
            group(Verb::Failsafe, &failsafe),
            group(Verb::Block, &blocks),
            group(Verb::Allow, &allows),
        ];
        self.view(view, stage, &groups);
        self.keep_sets(groups);
        self.denials(view, stage, !stance.blocks.is_empty());
    }

    fn failsafe(&self, direction: Direction) -> Group {
        self.shaped(Verb::Failsafe, &failsafe_entries(&self.bound.failsafe, direction), direction)
    }

    fn group<'r>(
        &mut self,
        verb: Verb,
        rules: impl IntoIterator<Item = &'r BoundRule>,
        direction: Direction,
    ) -> Group {
        let entries = self.entries(rules, direction);
        self.shaped(verb, &entries, direction)
    }

    fn shaped(&self, verb: Verb, entries: &[Entry], direction: Direction) -> Group {
        Group { verb, shapes: shapes(entries, &verb.sets(direction), self.capabilities) }
    }

    fn keep_sets(&mut self, groups: impl IntoIterator<Item = Group>) {
        for group in groups {
            self.sets.extend(group.shapes.sets);
        }
    }

    /// Rules in the plan's model; those that the kernel can't express are reported and omitted.
    fn entries<'r>(
        &mut self,
        rules: impl IntoIterator<Item = &'r BoundRule>,
        direction: Direction,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        for rule in rules {
            let reason = match rule.owner {
                Some(Owner::Cgroup(_)) if !self.capabilities.cgroups => {
                    Some("this kernel can't match the cgroup of a socket")
                }
                Some(Owner::Windows { .. }) => Some("only Windows recognises its program"),
                _ => None,
            };
            if let Some(reason) = reason {
                let reason = reason.to_owned();
                let told = Unenforceable { rule: rule.id.clone(), direction, reason };
                if !self.unenforceable.contains(&told) {
                    self.unenforceable.push(told);
                }
                continue;
            }
            entries.push(Entry {
                label: rule.id.as_str().into(),
                peers: rule.peers.clone(),
                services: rule.services.clone(),
                owner: rule.owner.clone(),
            });
        }
        entries
    }

    fn view(&mut self, view: View, stage: Stage, groups: &[Group]) {
        let mut lines = Vec::new();
        for family in Family::BOTH {
            let icmp = vec![Condition::Family(family), Condition::Protocol(family.icmp())];
            if view.reply {
                // An answer to a judged request, or an error about a judged flow.
                lines.push(line(icmp, Next::Accept));
            } else {
                if view.is_forwarded() {
                    let answer = with(&icmp, [Condition::Reply]);
                    lines.push(line(answer, Next::Accept));
                }
                lines.push(line(icmp, Next::Jump(format!("icmp{}", family.number()))));
            }
        }
        if !view.is_forwarded() {
            let dhcp = format!("{}_dhcp", view.name());
            lines.push(fixed::igmp());
            lines.push(line(vec![Condition::Protocol(UDP)], Next::Jump(dhcp.clone())));
            self.chain(dhcp, fixed::dhcp(view));
        }
        for group in groups {
            if group.verb == Verb::Failsafe && view.is_forwarded_outbound() {
                // It keeps the host itself reachable, and does not apply to others.
                continue;
            }
            let next = self.next(view, stage, group.verb);
            self.lines(view, group, &next, &mut lines);
        }
        self.level(view, stage, &mut lines);
        self.chain(view.name(), lines);
        if self.looks_twice(view, stage) {
            let mut lines = self.served(view, &Next::Accept);
            lines.push(line(Vec::new(), stage.final_denial()));
            self.chain(denied_reply_chain(view), lines);
        }
    }

    /// Whether denied answers may be the platform's.
    fn looks_twice(&self, view: View, stage: Stage) -> bool {
        let served = &self.bound.failsafe.served;
        let inbound = view.direction == Direction::Inbound;
        view.reply && inbound && stage.mode == Mode::Enforce && !served.is_empty()
    }

    fn denied(&self, view: View, stage: Stage, rule: &str) -> Next {
        if self.looks_twice(view, stage) {
            Next::Goto(denied_reply_chain(view))
        } else {
            stage.denial(view, rule)
        }
    }

    /// The target of a packet that matches a rule of this kind.
    fn next(&self, view: View, stage: Stage, verb: Verb) -> Next {
        let goes_on = stage.place == Place::First && !view.reply;
        match verb {
            Verb::Block | Verb::BlockTested => self.denied(view, stage, "block"),
            Verb::Allow if goes_on => Next::Goto(passed_chain(view)),
            Verb::AllowEnforced if goes_on => Next::Goto(tested_chain(view)),
            Verb::Failsafe | Verb::Allow | Verb::AllowEnforced | Verb::AllowTested => {
                self.pass(view)
            }
        }
    }

    fn pass(&self, view: View) -> Next {
        if self.capabilities.recorder && !view.reply {
            Next::Goto(pass_chain(view.traffic, view.direction))
        } else {
            Next::Accept
        }
    }

    /// The level of a stance.
    fn level(&mut self, view: View, stage: Stage, lines: &mut Vec<Line>) {
        // Packets that continue to the tested stance are counted there.
        let goes_on = stage.place == Place::First && !view.reply;
        let passes = |conditions: Vec<Condition>, label: &str| {
            if goes_on {
                line(conditions, Next::Goto(tested_chain(view)))
            } else {
                line(conditions, self.pass(view)).counted(label)
            }
        };
        let intranet = |condition: Condition, family: Family| {
            passes(vec![Condition::Family(family), condition], "default/intranet")
        };
        match stage.subject {
            Subject::Nothing => {
                lines.push(passes(Vec::new(), "default/open"));
                return;
            }
            Subject::Everything => {}
            Subject::Internet => {
                for family in Family::BOTH {
                    let ranges = set_ranges(&self.bound.intranet, family);
                    let field = view.peer(family);
                    if self.capabilities.concat_intervals && !ranges.is_empty() {
                        let key = vec![field, Field::Protocol];
                        let set = intranet_set(family);
                        lines.push(intranet(Condition::InSet { key, set }, family));
                    } else {
                        lines.extend(ranges.into_iter().map(|(first, last)| {
                            intranet(Condition::Within { field, first, last }, family)
                        }));
                    }
                }
            }
        }
        lines.push(line(Vec::new(), self.denied(view, stage, "none")).counted("default/closed"));
    }

    fn denials(&mut self, view: View, stage: Stage, blocks: bool) {
        self.denial(view, stage, "none");
        if blocks {
            self.denial(view, stage, "block");
        }
        if !view.is_forwarded() && self.answers_are_blocked(view.direction) {
            self.denial(view, stage, "answer");
        }
    }

    /// Records and logs a denial, then returns the final verdict.
    fn denial(&mut self, view: View, stage: Stage, rule: &str) {
        let (kind, word) = match stage.mode {
            Mode::Enforce => (FlowKind::Denied, "DENY"),
            Mode::Test => (FlowKind::WouldDeny, "WOULD"),
        };
        let verdict = stage.final_denial();
        let stray = vec![Condition::State(State::Invalid), Condition::Protocol(TCP)];
        let mut lines = match view.direction {
            Direction::Outbound if !view.is_forwarded() => {
                fixed::local_destinations(self.capabilities)
            }
            Direction::Inbound => self.served(view, &self.pass(view)),
            Direction::Outbound => Vec::new(),
        };
        if rule != "answer" && !view.is_forwarded() {
            lines.extend(Self::unplaced(view.direction, stage.mode));
        }
        lines.push(line(stray, verdict.clone()).counted("default/stray"));
        if view.is_forwarded() {
            lines.push(line(vec![Condition::Reply], verdict.clone()));
        }
        if self.capabilities.recorder {
            let chain = record_chain(kind, view.traffic, view.direction);
            lines.push(line(Vec::new(), Next::Jump(chain)));
        }
        let (per_second, burst) = LOG_RATE;
        let told = if rule == "answer" { "block" } else { rule };
        let mark = if view.is_forwarded() { "fwd-" } else { "" };
        let prefix = format!("xshield: {word} {mark}{} rule={told} ", way(view.direction));
        // A forwarded packet contains its translated addresses; the recorder has those that the opener used.
        let live = self.live.filter(|_| !view.is_forwarded());
        let handed_over = live.map(|group| live_line(group, prefix.clone()));
        lines.push(Line {
            conditions: Vec::new(),
            counted: false,
            effect: Some(Effect::Log { prefix, per_second, burst }),
            next: None,
            label: None,
        });
        lines.extend(handed_over);
        lines.push(line(Vec::new(), verdict));
        self.chain(stage.deny_chain(view, rule), lines);
    }
}

/// Separates rules that are also in `others` from those that are not.
fn parted<'r>(
    rules: &'r [BoundRule],
    others: &[BoundRule],
) -> (Vec<&'r BoundRule>, Vec<&'r BoundRule>) {
    let mut known: HashMap<&RuleId, Vec<&BoundRule>> = HashMap::new();
    for rule in others {
        known.entry(&rule.id).or_default().push(rule);
    }
    rules.iter().partition(|rule| known.get(&rule.id).is_some_and(|same| same.contains(rule)))
}
