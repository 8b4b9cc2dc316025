//! Measures the pure code for the Windows Filtering Platform, which runs on any system.
//!
//! | arguments | does | prints |
//! |---|---|---|
//! | `plan ROUNDS` | plans one of two rulesets and compares it with the other as read back, alternating | milliseconds, the median |
//! | `agree CASES` | compares policy with the model of the filter engine, under every reading | the number of packets, and of those with different verdicts |
//!
//! The two rulesets are lines of standard input, each a `Bound` ruleset as JSON.
#![allow(clippy::unwrap_used, reason = "what makes random rulesets is shared with tests")]

#[path = "../tests/common/mod.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod common;

use std::error::Error;
use std::time::Instant;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use xshield_firewall::wfp::eval::{
    Assumption, CalloutAnswer, EnginePhase, Ruling, Unknown, classify_all,
};
use xshield_firewall::wfp::model::EngineState;
use xshield_firewall::wfp::ours::{self, Tier};
use xshield_firewall::wfp::program::{AppId, LocalProgram, Programs, Sid};
use xshield_firewall::wfp::{ObjectChange, SessionKind, Transaction};
use xshield_firewall::wfp::{Plan, difference, plan, traffic};
use xshield_policy::{Bound, Owner, Packet, Verdict, decide};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["plan", rounds] => {
            let mut lines = std::io::stdin().lines();
            let mut ruleset = || -> Result<Bound, Box<dyn Error>> {
                let line = lines.next().ok_or("expected two rulesets on standard input")??;
                Ok(serde_json::from_str(&line)?)
            };
            let turns = [ruleset()?, ruleset()?];
            println!("{}", planned(turns.each_ref(), rounds.parse()?)?);
        }
        ["agree", cases] => {
            let (packets, wrong) = agreement(cases.parse()?)?;
            println!("{packets} {wrong}");
        }
        _ => return Err("expected: plan ROUNDS, or agree CASES".into()),
    }
    Ok(())
}

/// The filter engine with a plan in force.
fn holding(plan: &Plan) -> EngineState {
    EngineState {
        providers: vec![ours::provider()],
        sublayers: vec![ours::sublayer()],
        filters: plan.filters_in(Tier::Kept).collect(),
        dynamic: [].into(),
    }
}

/// The median duration in milliseconds; the rulesets alternate.
fn planned(turns: [&Bound; 2], rounds: usize) -> Result<f64, Box<dyn Error>> {
    let programs = Programs::new();
    let [one, other] = turns;
    let states = [holding(&plan(one, &programs)?), holding(&plan(other, &programs)?)];
    let mut times = Vec::new();
    for round in 0..rounds {
        let (next, before) = (turns[(round + 1) % 2], &states[round % 2]);
        let begin = Instant::now();
        let planned = plan(next, &programs)?;
        let found = difference(Some(&planned), before);
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        let added =
            found.changes.iter().filter(|change| matches!(change, ObjectChange::AddFilter(_)));
        if added.count() == 0 {
            return Err("the rulesets do not differ".into());
        }
        // Only checks that it is one valid transaction; copying the state is not measured.
        let Transaction { session, .. } = found.transaction();
        if session != SessionKind::Lasting {
            return Err("what stays would go with its session".into());
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().ok_or_else(|| "no round was measured".into())
}

/// The owners that random rulesets name.
fn programs() -> Result<Programs, Box<dyn Error>> {
    let sid = |n: u32| Sid::try_from(format!("S-1-5-80-{n}"));
    let app = AppId::try_from(r"\device\harddiskvolume2\a\a.exe".to_owned())?;
    Ok([
        (Owner::Uid(0), LocalProgram::Identity(sid(0)?)),
        (Owner::Uid(1), LocalProgram::Identity(sid(1)?)),
        (Owner::Cgroup("system.slice/a.service".into()), LocalProgram::App(app)),
    ]
    .into())
}

/// The number of compared packets, and of those with different verdicts under any reading.
fn agreement(cases: usize) -> Result<(usize, usize), Box<dyn Error>> {
    let programs = programs()?;
    let mut runner = TestRunner::deterministic();
    let strategy = (common::bound(), proptest::collection::vec(common::packet(), 30));
    let (mut compared, mut wrong) = (0, 0);
    for _ in 0..cases {
        let (bound, packets) =
            strategy.new_tree(&mut runner).map_err(|why| why.to_string())?.current();
        let state = holding(&plan(&bound, &programs)?);
        for packet in &packets {
            compared += 1;
            wrong += usize::from(!agrees(&bound, &state, packet, &programs));
        }
    }
    Ok((compared, wrong))
}

fn agrees(bound: &Bound, state: &EngineState, packet: &Packet, programs: &Programs) -> bool {
    let wanted = match decide(bound, packet).verdict {
        Verdict::Deny => Ruling::Block,
        Verdict::Allow | Verdict::WouldDeny => Ruling::Permit,
    };
    let assumption = Assumption { callouts: CalloutAnswer::Continues, unknown: Unknown::Differs };
    traffic::classifications(packet, programs).into_iter().all(|(layer, facts)| {
        let outcomes = classify_all(state, &layer, &facts, (EnginePhase::Running, assumption));
        outcomes.iter().all(|(_, outcome)| outcome.ruling == wanted)
    })
}
