//! Keys, a ruleset and a session, the same in every run.

use std::net::SocketAddr;
use std::sync::OnceLock;

use xshield_policy::ruleset::{Failsafe, Management, Peer, Rule};
use xshield_policy::{
    AssetId, DirectionRules, Peers, PortRange, Ports, Revision, RuleId, Ruleset, Service,
    StanceRules, Subject,
};
use xshield_wire::session::{Randomness, Session, Terms, prove, start};
use xshield_wire::{EnforcementKey, IdentityKey, PolicyKey};

pub(crate) const NOW: u64 = 1_790_000_000;
pub(crate) const TOKEN: &str = "v4.local.c2VhbGVk";

pub(crate) fn asset(text: &str) -> AssetId {
    text.parse().unwrap()
}

pub(crate) fn enforcement() -> EnforcementKey {
    EnforcementKey::new("k7f3".parse().unwrap(), [7; 32])
}

pub(crate) fn identity() -> IdentityKey {
    IdentityKey::from_seed([11; 32])
}

pub(crate) fn policy_key() -> PolicyKey {
    PolicyKey::from_seed([13; 32])
}

pub(crate) fn randomness() -> Randomness {
    Randomness { ephemeral: [17; 32], nonce: [19; 16] }
}

pub(crate) fn terms() -> Terms {
    Terms { asset: asset("a-web"), ephemeral: [23; 32], expires: NOW + 3600 }
}

pub(crate) fn session() -> &'static Session {
    static SESSION: OnceLock<Session> = OnceLock::new();
    SESSION.get_or_init(new_session)
}

fn new_session() -> Session {
    let (enforcement, identity) = (enforcement(), identity());
    let (request, pending) = start(&enforcement, &identity, "web", NOW, randomness());
    let proven = prove(&request, &enforcement, NOW).unwrap();
    let (response, _) = proven.accept(terms(), |_| TOKEN.to_owned()).unwrap();
    pending.finish(response).unwrap()
}

pub(crate) fn ruleset(revision: u64) -> Ruleset {
    let https = Service::Tcp(Ports::Range(PortRange::single(443)));
    let allow = Rule {
        id: "web-tier/https".parse::<RuleId>().unwrap(),
        peers: Peers::Listed(vec![
            Peer::Net("10.0.0.0/8".parse().unwrap()),
            Peer::Domain("repo.example.com".parse().unwrap()),
            Peer::Intranet,
        ]),
        services: vec![https, Service::Udp(Ports::Any)],
        process: Some("nginx".to_owned().try_into().unwrap()),
        user: None,
        unit: None,
    };
    let block = Rule {
        id: "never/telnet".parse().unwrap(),
        peers: Peers::Any,
        services: vec!["tcp/23".parse().unwrap()],
        process: None,
        user: None,
        unit: None,
    };
    Ruleset {
        asset: asset("a-web"),
        revision: Revision(revision),
        failsafe: Failsafe {
            platform: vec!["192.0.2.1:8443".parse::<SocketAddr>().unwrap()],
            management: vec![Management {
                from: "192.0.2.0/28".parse().unwrap(),
                services: vec!["tcp/22".parse().unwrap()],
            }],
        },
        intranet: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        intranet_domains: vec![],
        grace: [].into(),
        inbound: DirectionRules {
            enforced: StanceRules {
                subject: Subject::Everything,
                blocks: vec![block],
                allows: vec![allow],
            },
            tested: None,
        },
        outbound: DirectionRules {
            enforced: StanceRules::open(),
            tested: Some(StanceRules::open()),
        },
        forwarded: None,
    }
}
