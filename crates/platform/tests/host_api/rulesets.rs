//! Rulesets: fetched, compiled again, for many hosts.

use serde_json::json;
use xshield_policy::{Direction, Protocol, Revision};
use xshield_wire::message::*;
use xshield_wire::{Bytes, EnforcementKey, envelope};

use crate::support::{TestHost, TestPlatform, eventually, now, random, report};
use crate::{WEB_AND_DB, event};

#[test]
fn a_policy_reaches_the_host_and_its_reports_reach_the_platform() {
    let platform = TestPlatform::start();
    let made =
        platform.post("/api/v1/enforcement-keys", json!({"name": "k", "tags": {"role": "db"}}));
    let key: EnforcementKey = made["key"].as_str().unwrap().parse().unwrap();
    let mut host = TestHost::new("db-1", &key);

    let asset = host.sign_in(&platform).asset.clone();
    let answer = host.check_in(&platform);
    assert_eq!(answer.wanted, None, "no policy is committed");
    assert!((216..=288).contains(&answer.next_check_in), "{}", answer.next_check_in);
    let missing = host.send(&platform, "GET", "/host/v1/ruleset", b"");
    assert_eq!((missing.status, missing.problem().as_str()), (404, "no-policy"));

    assert_eq!(platform.commit(WEB_AND_DB), 1);
    let wanted = host.check_in(&platform).wanted.expect("a ruleset is wanted");
    assert_eq!(wanted.revision, Revision(1));
    let fetched = host.send(&platform, "GET", "/host/v1/ruleset", b"");
    let verified =
        envelope::open(&fetched.body, &[platform.policy_key()], &asset, Revision(0).into())
            .unwrap();
    assert_eq!(verified.in_force(), wanted);
    assert_eq!(verified.inbound.enforced.allows.len(), 1);

    let mut headers = host.headers("GET", "/host/v1/ruleset", b"", now());
    headers.push(("if-none-match".to_owned(), format!("\"{}\"", wanted.digest.to_base64())));
    let unchanged = platform.raw("GET", "/host/v1/ruleset", &headers, b"");
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));

    let shown = platform.get("/api/v1/assets/db-1");
    assert_eq!(shown["spark"]["activity"], "active");
    assert_eq!(shown["spark"]["up_to_date"], false);
    assert_eq!(shown["spark"]["nothing_enforced"], "the host has not fetched its ruleset yet");
    assert_eq!(shown["tags"], json!({"role": "db"}));
    let mut message = host.check_in_message();
    message.status = Status::Enforcing;
    message.in_force = Some(wanted);
    host.check_in_with(&platform, &message);
    let shown = platform.get("/api/v1/assets/db-1");
    assert_eq!(shown["spark"]["up_to_date"], true);
    assert_eq!(shown["spark"]["nothing_enforced"], json!(null));

    let events = report(ReportBody::Events(EventReport { events: vec![event(3)], lost: 2 }));
    assert_eq!(host.report(&platform, &events).status, 200);
    let ports = vec![ListeningPort {
        protocol: Protocol::Tcp,
        address: "0.0.0.0".parse().unwrap(),
        port: 5432,
        process: Some("postgres".to_owned()),
        path: None,
        uid: Some(100),
        service: None,
    }];
    assert_eq!(host.report(&platform, &report(ReportBody::ListeningPorts { ports })).status, 200);
    let programmed = ReportBody::Programmed(ProgrammedReport {
        in_force: wanted,
        inbound: DirectionState {
            subject: xshield_policy::Subject::Everything,
            mode: xshield_policy::Mode::Enforce,
            tested: None,
        },
        outbound: DirectionState {
            subject: xshield_policy::Subject::Nothing,
            mode: xshield_policy::Mode::Enforce,
            tested: None,
        },
        hits: vec![RuleHits {
            rule: "db/postgres".parse().unwrap(),
            direction: Direction::Inbound,
            packets: 7,
            bytes: 420,
        }],
        text: Some("table inet xshield {}".to_owned()),
        unenforceable: Vec::new(),
    });
    let mut unchanged = programmed.clone();
    if let ReportBody::Programmed(report) = &mut unchanged {
        report.text = None;
    }
    assert_eq!(host.report(&platform, &report(programmed)).status, 200);
    assert_eq!(host.report(&platform, &report(unchanged)).status, 200);

    let listed = platform.get("/api/v1/assets/db-1/events?kind=denied&port=22&peer=198.51.100.7");
    assert_eq!(listed["items"][0]["packets"], 3);
    let all = platform.get("/api/v1/events?direction=inbound&protocol=tcp");
    assert_eq!(all["items"], listed["items"]);
    assert_eq!(all["items"][0]["asset"], "db-1");
    assert_eq!(platform.get("/api/v1/assets/db-1/events?kind=accepted")["items"], json!([]));
    assert_eq!(platform.get("/api/v1/assets/db-1")["events_lost"], 2);
    assert_eq!(platform.get("/api/v1/assets/db-1/ports")["ports"][0]["port"], 5432);
    let read_back = platform.get("/api/v1/assets/db-1/programmed");
    assert_eq!(read_back["hits"][0]["packets"], 14, "two reports add up");
    assert_eq!(read_back["report"]["text"], "table inet xshield {}", "sent when it changes");
    let compiled = platform.get("/api/v1/assets/db-1/ruleset");
    assert_eq!(compiled["ruleset"]["revision"], 1);
}

#[test]
fn a_new_address_of_a_peer_changes_the_digest_and_not_the_revision() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let (mut web, mut db) = (TestHost::new("web-1", &key), TestHost::new("db-1", &key));
    for host in [&mut web, &mut db] {
        host.sign_in(&platform);
        host.check_in(&platform);
    }
    for (name, role) in [("web-1", "web"), ("db-1", "db")] {
        let (status, _) = platform.call(
            "PATCH",
            &format!("/api/v1/assets/{name}"),
            Some(&platform.admin),
            Some(json!({"tags": {"role": role}})),
        );
        assert_eq!(status, 200);
    }
    platform.commit(WEB_AND_DB);
    let before = db.check_in(&platform).wanted.unwrap();
    web.addresses = vec!["10.255.255.99".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    web.check_in(&platform);
    let after = eventually("the change of db-1's ruleset", || {
        db.check_in(&platform).wanted.filter(|wanted| *wanted != before)
    });
    assert_eq!(after.revision, before.revision);
    let ruleset = platform.get("/api/v1/assets/db-1/ruleset")["ruleset"].to_string();
    assert!(ruleset.contains("10.255.255.99") && !ruleset.contains("127.0.0.1/32"), "{ruleset}");
}

#[test]
fn an_asset_that_cannot_be_compiled_keeps_its_ruleset_and_delays_nobody() {
    let platform = TestPlatform::start_with(|settings| {
        settings.public_urls = vec!["https://192.0.2.1:8443".parse().unwrap()];
    });
    let key = platform.new_key();
    let (mut one, mut two) = (TestHost::new("one", &key), TestHost::new("two", &key));
    for host in [&mut one, &mut two] {
        host.sign_in(&platform);
        host.check_in(&platform);
    }
    platform.commit(
        "
segment: { name: cut, criteria: role = 'cut', templates: [cut] }
---
template:
  name: cut
  action: block
  outbound: [{ name: everything, to: [any], services: [any] }]
---
segment:
  name: peers
  criteria: role = 'peer'
  templates: [peers]
  inbound: { level: secure-all-ports, mode: enforce }
---
template:
  name: peers
  action: allow
  inbound: [{ name: peers, from: ['segment:peers'], services: [tcp/1] }]
",
    );
    let before = one.check_in(&platform).wanted.unwrap();
    let other = two.check_in(&platform).wanted.unwrap();
    for (name, role) in [("one", "cut"), ("two", "peer")] {
        let tags = json!({"tags": {"role": role}});
        let path = format!("/api/v1/assets/{name}");
        assert_eq!(platform.call("PATCH", &path, Some(&platform.admin), Some(tags)).0, 200);
    }
    eventually("the change of the other's ruleset", || {
        two.check_in(&platform).wanted.filter(|wanted| *wanted != other)
    });
    let failure = eventually("the failure", || {
        platform.get("/api/v1/assets/one")["spark"]["compile_failure"].as_str().map(str::to_owned)
    });
    assert!(failure.contains("cut/everything"), "{failure}");
    assert_eq!(one.check_in(&platform).wanted, Some(before));
}

#[test]
fn many_hosts_at_once_are_all_served() {
    let platform = TestPlatform::start_with(|settings| settings.sessions_per_second = 1000);
    platform.commit(WEB_AND_DB);
    let key = platform.new_key();
    std::thread::scope(|scope| {
        for number in 0..48 {
            let (platform, key) = (&platform, &key);
            scope.spawn(move || {
                let mut host = TestHost::new(&format!("host-{number}"), key);
                host.addresses = vec![[10, 0, 0, number].into()];
                host.sign_in(platform);
                for _ in 0..3 {
                    assert!(host.check_in(platform).wanted.is_some(), "host-{number}");
                    let events = EventReport { events: vec![event(1)], lost: 0 };
                    let answer = host.report(platform, &report(ReportBody::Events(events)));
                    assert_eq!(answer.status, 200, "{}", answer.json());
                }
            });
        }
    });
    let events = platform.get("/api/v1/events?limit=1000");
    let events = events["items"].as_array().unwrap();
    assert_eq!(events.len(), 48);
    assert!(events.iter().all(|event| event["packets"] == 3));
}

#[test]
fn two_thousand_assets_are_compiled_in_seconds() {
    let platform = TestPlatform::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fill(&platform.data_dir().join("xshield.db"), 2000));
    let started = std::time::Instant::now();
    platform.commit(WEB_AND_DB);
    let took = started.elapsed();
    let page = platform.get("/api/v1/assets?limit=1000&segment=web&name=host-19");
    assert_eq!(page["items"].as_array().unwrap().len(), 55);
    assert!(took.as_secs() < 60, "{took:?} for 2000 assets");
    println!("2000 assets: {took:?}");
}

/// Assets `host-0…`, half of them tagged `web`, half `db`.
async fn fill(database: &std::path::Path, count: u32) {
    use xshield_model::Timestamp;
    use xshield_store::{Store, addresses, assets, commit};
    let store = Store::open(database).await.unwrap();
    let mut tx = store.write().await.unwrap();
    for number in 0..count {
        let role = if number % 2 == 0 { "web" } else { "db" };
        let new = assets::NewAsset {
            id: &format!("as-{number:06}").parse().unwrap(),
            name: &format!("host-{number}").parse().unwrap(),
            source: xshield_policy::inventory::Source::Spark,
            identity: Bytes(random()),
            tags: &[("role".parse().unwrap(), role.parse().unwrap())].into(),
        };
        assets::insert(&mut tx, &new, Timestamp::now()).await.unwrap();
        let mut host = CheckIn {
            version: VERSION,
            sequence: 1,
            program: Program { kind: ProgramKind::Spark, version: "0.1.0".to_owned() },
            host: HostFacts {
                name: format!("host-{number}"),
                os: String::new(),
                kernel: String::new(),
                addresses: Vec::new(),
                boot_id: String::new(),
            },
            status: Status::NoPolicy,
            in_force: None,
            problems: Vec::new(),
            threat: None,
            routes: Vec::new(),
            interval: None,
            configuration: None,
            usage: None,
            previous: None,
            held: None,
            trust: None,
        };
        host.host.addresses.push(std::net::Ipv4Addr::from(0x0a00_0000 + number * 3).into());
        assets::check_in(&mut tx, new.id, &host, Timestamp::now()).await.unwrap();
        addresses::put(&mut tx, new.id, &[], &host.host.addresses, Timestamp::now()).await.unwrap();
    }
    commit(tx).await.unwrap();
    store.close().await;
}
