//! The rulesets of the simulated platform, and what each does to packets.

use super::*;

pub(super) fn asset() -> AssetId {
    "as-1".parse().unwrap()
}

pub(super) fn key() -> PolicyKey {
    PolicyKey::from_seed([7; 32])
}

pub(super) fn pinned() -> PolicyPublicKey {
    static PINNED: LazyLock<PolicyPublicKey> = LazyLock::new(|| key().public());
    *PINNED
}

pub(super) fn ruleset(revision: u64, asset: AssetId) -> Ruleset {
    let open = Rule {
        id: "t/open".parse().unwrap(),
        peers: Peers::Any,
        services: vec![format!("tcp/{}", 1000 + revision).parse().unwrap()],
        process: None,
        user: None,
        unit: None,
    };
    let closed =
        StanceRules { subject: Subject::Everything, blocks: Vec::new(), allows: vec![open] };
    Ruleset {
        asset,
        revision: Revision(revision),
        failsafe: Failsafe::default(),
        intranet: Vec::new(),
        intranet_domains: Vec::new(),
        grace: [].into(),
        inbound: DirectionRules { enforced: closed, tested: None },
        outbound: DirectionRules { enforced: StanceRules::open(), tested: None },
        forwarded: None,
    }
}

/// Signing takes longer than a run, so each ruleset is signed once.
pub(super) fn sealed(revision: u64) -> &'static Envelope {
    static SEALED: LazyLock<Vec<Envelope>> = LazyLock::new(|| {
        let seal = |revision| {
            envelope::seal_ruleset(&key(), &ruleset(revision, asset()), revision).unwrap()
        };
        (0..=REVISIONS).map(seal).collect()
    });
    &SEALED[revision as usize]
}

pub(super) fn wanted(revision: u64) -> InForce {
    InForce { revision: Revision(revision), digest: sealed(revision).digest() }
}

/// The packets that show which ruleset is in force.
pub(super) fn probes() -> &'static [Packet] {
    static PROBES: LazyLock<Vec<Packet>> = LazyLock::new(|| {
        let ports = (1..=REVISIONS).map(|revision| 1000 + revision);
        ports.map(|port| format!("in tcp 192.0.2.1:5000 -> :{port}").parse().unwrap()).collect()
    });
    &PROBES
}

pub(in crate::core::tests) type Verdicts = Vec<Verdict>;

/// What a ruleset does to the probes, according to `policy`.
pub(in crate::core::tests) fn verdicts_of(revision: u64) -> Verdicts {
    static VERDICTS: LazyLock<Vec<Verdicts>> = LazyLock::new(|| {
        let verdicts = |revision| {
            let bound = ruleset(revision, asset()).bind(&Facts::default()).0;
            probes().iter().map(|packet| decide(&bound, packet).verdict).collect()
        };
        (0..=REVISIONS).map(verdicts).collect()
    });
    VERDICTS[revision as usize].clone()
}

pub(in crate::core::tests) fn all_open() -> Verdicts {
    vec![Verdict::Allow; probes().len()]
}
