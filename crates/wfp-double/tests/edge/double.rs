//! An engine of its own for each test, and what the tests put into it.
#![allow(unsafe_code, reason = "chooses the directory of the double")]

use std::path::Path;

use tempfile::TempDir;
use xshield_firewall::wfp::eval::{
    Assumption, CalloutAnswer, EnginePhase, Ruling, Unknown, classify,
};
use xshield_firewall::wfp::model::{EngineState, Filter};
use xshield_firewall::wfp::program::{AppId, LocalProgram, Programs, Sid};
use xshield_firewall::wfp::reading::Reading;
use xshield_firewall::wfp::windows::{HostEngine, LockLimits};
use xshield_firewall::wfp::{FilterEngine, Plan, difference, plan, traffic};
use xshield_policy::{Bound, Owner, Packet, Verdict, decide};
use xshield_wfp_double::Directory;

#[link(name = "fwpuclnt", kind = "raw-dylib")]
unsafe extern "system" {
    fn WfpDoubleUse(path: *const u16);
    fn WfpDoubleHandedOut() -> usize;
    fn WfpDoubleSessions() -> usize;
}

/// Waits so short that a test does not notice.
pub(crate) const SHORT: LockLimits = LockLimits { wait_ms: 20, attempts: 3 };

/// An engine in a directory of its own.
pub(crate) struct Double {
    pub(crate) directory: Directory,
    place: TempDir,
    sessions_before: usize,
}

impl Double {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::at(place.path()).unwrap();
        choose(Some(place.path()));
        // SAFETY: it only counts.
        let sessions_before = unsafe { WfpDoubleSessions() };
        Self { directory, place, sessions_before }
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// With a policy that stays.
    pub(crate) fn holding(plan: &Plan) -> Self {
        let double = Self::new();
        install(&mut host(), plan);
        double
    }

    /// What the double itself says it holds.
    pub(crate) fn state(&self) -> EngineState {
        self.directory.load().unwrap().state()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        choose(None);
        if std::thread::panicking() {
            return;
        }
        // SAFETY: these only count.
        let (memory, sessions) = unsafe { (WfpDoubleHandedOut(), WfpDoubleSessions()) };
        let calls = self.directory.calls().unwrap();
        // What the program was not told of, or could not close.
        let failed = |call: &&String| {
            let answer = call.strip_prefix("FwpmEngineClose0 ");
            let answer = answer.or_else(|| call.strip_prefix("FwpmEngineOpen0 "));
            answer.is_some_and(|answer| answer != "0x0")
        };
        let lost = calls.iter().filter(failed).count();
        assert_eq!(memory, 0, "memory was not given back");
        assert!(sessions - self.sessions_before <= lost, "sessions were not closed");
    }
}

fn choose(path: Option<&Path>) {
    let wide: Option<Vec<u16>> =
        path.map(|path| path.to_str().unwrap().encode_utf16().chain([0]).collect());
    // SAFETY: null, or text with a zero at its end that lives until the call returns.
    unsafe { WfpDoubleUse(wide.as_ref().map_or(std::ptr::null(), |wide| wide.as_ptr())) };
}

pub(crate) fn host() -> HostEngine {
    HostEngine::new(SHORT)
}

/// Makes a plan the one that stays, without a trial.
pub(crate) fn install(engine: &mut impl FilterEngine, plan: &Plan) {
    let state = engine.read().unwrap();
    engine.commit(&difference(Some(plan), &state).transaction()).unwrap();
}

pub(crate) fn programs() -> Programs {
    let sid = Sid::try_from("S-1-5-80-1".to_owned()).unwrap();
    let app = AppId::try_from(r"\device\harddiskvolume2\a\svchost.exe".to_owned()).unwrap();
    let user = Sid::try_from("S-1-5-18".to_owned()).unwrap();
    let shop = AppId::try_from("\\device\\harddiskvolume2\\l\u{e4}den \u{1f980}.exe".to_owned());
    [
        (Owner::Uid(0), LocalProgram::Identity(user)),
        (Owner::Uid(1), LocalProgram::Both(app, sid)),
        (Owner::Cgroup("shop".into()), LocalProgram::App(shop.unwrap())),
    ]
    .into()
}

/// A ruleset with every kind of condition that plans have; `port` tells one from another.
pub(crate) fn ruleset(port: u16) -> Bound {
    let text = format!(
        r#"{{
        "revision": 7,
        "failsafe": {{
            "endpoints": ["192.0.2.1:8443"],
            "resolvers": {{"only": {{"v4": [[167772213, 167772213]], "v6": []}}}},
            "management": [{{"from": "10.0.0.1/32", "services": ["tcp/3389"]}}],
            "served": []}},
        "intranet": {{"v4": [[167772160, 184549375]], "v6": []}},
        "inbound": {{
            "enforced": {{"subject": "everything",
                "blocks": [{{"id": "bad/net", "owner": null, "services": ["any"],
                            "peers": {{"only": {{"v4": [[167837696, 167837951]], "v6": []}}}}}}],
                "allows": [{{"id": "web/shop", "owner": null, "services": ["tcp/{port}"], "peers": "any"}}]}},
            "tested": null}},
        "outbound": {{
            "enforced": {{"subject": "nothing", "blocks": [], "allows": []}},
            "tested": {{"subject": "internet", "blocks": [], "allows": [
                {{"id": "update/https", "owner": {{"uid": 1}}, "services": ["tcp/{port}"], "peers": "any"}},
                {{"id": "update/shop", "owner": {{"cgroup": "shop"}}, "services": ["tcp/443"], "peers": "any"}},
                {{"id": "update/user", "owner": {{"uid": 0}}, "services": ["udp/1000-2000"], "peers": "any"}}]}}}}
    }}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// Two rulesets that differ, and their plans.
pub(crate) fn old_and_new() -> ((Bound, Plan), (Bound, Plan)) {
    let both = [22, 8080].map(|port| {
        let bound = ruleset(port);
        let plan = plan(&bound, &programs()).unwrap();
        (bound, plan)
    });
    let [old, new] = both;
    (old, new)
}

/// Packets about which the two rulesets differ, and some about which they do not.
pub(crate) fn packets() -> Vec<Packet> {
    [
        "in tcp 10.0.0.5:1 -> :22",
        "in tcp 10.0.0.5:1 -> :8080",
        "in tcp 10.1.0.5:1 -> :8080",
        "in udp 10.0.0.5:1 -> :9",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec()
}

/// Whether policy decides about every packet. That no reading changes what a plan decides, tests of the
/// plans show.
pub(crate) fn decides(
    state: &EngineState,
    bound: &Bound,
    phases: &[EnginePhase],
) -> Result<(), String> {
    let plain = Assumption { callouts: CalloutAnswer::Continues, unknown: Unknown::Differs };
    for packet in packets() {
        let wanted = match decide(bound, &packet).verdict {
            Verdict::Deny => Ruling::Block,
            Verdict::Allow | Verdict::WouldDeny => Ruling::Permit,
        };
        for &phase in phases {
            for (layer, facts) in traffic::classifications(&packet, &programs()) {
                let decision = classify(state, &layer, &facts, (phase, plain), &Reading::USUAL);
                if decision.ruling != wanted {
                    return Err(format!(
                        "{packet}, {phase:?}: want {wanted:?}, got {:?} by {:?}",
                        decision.ruling, decision.by
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Of calls, each by its place: every one that stands alone, and of many alike the first and the last and
/// some between them.
pub(crate) fn places(calls: &[String], between: usize) -> Vec<usize> {
    let same = |at: usize, other: Option<&String>| other == Some(&calls[at]);
    let is_one_of_many = |at: usize| {
        at > 0
            && same(at, calls.get(at - 1))
            && same(at, calls.get(at + 1))
            && !at.is_multiple_of(between)
    };
    (0..calls.len()).filter(|at| !is_one_of_many(*at)).collect()
}

/// Filters by key, without what the engine adds.
pub(crate) fn by_key(state: &EngineState) -> Vec<Filter> {
    let mut filters = state.filters.clone();
    for filter in &mut filters {
        filter.id = None;
        filter.effective_weight = None;
    }
    filters.sort_by(|one, other| one.key.cmp(&other.key));
    filters
}
