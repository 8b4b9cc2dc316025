use xshield_host::windows_logs::FirewallLog;
use xshield_policy::{BoundDirection, BoundRule, BoundStance, Owner};

use super::*;

const COLUMNS: &str = "#Fields: date time action protocol src-ip dst-ip src-port dst-port size tcpflags tcpsyn \
                       tcpack tcpwin icmptype icmpcode info path";

fn rule(id: &str, service: &str, owner: Option<Owner>) -> BoundRule {
    BoundRule {
        id: id.parse().unwrap(),
        peers: xshield_policy::AddressMatch::Any,
        services: vec![service.parse().unwrap()],
        owner,
    }
}

/// Inbound SMB and pings are allowed, outbound HTTPS, and for a user PostgreSQL.
fn bound(owner: Option<Owner>) -> Bound {
    let stance = |allows| BoundStance { allows, ..BoundStance::closed() };
    let inbound =
        vec![rule("files/smb", "tcp/445", None), rule("all/ping", "icmp/echo-request", None)];
    let outbound = vec![rule("web/https", "tcp/443", None), rule("app/sql", "tcp/5432", owner)];
    Bound {
        revision: xshield_policy::Revision(1),
        failsafe: xshield_policy::BoundFailsafe::bare(Vec::new(), &[]),
        intranet: xshield_policy::RangeSet::empty(),
        inbound: BoundDirection::enforcing(stance(inbound)),
        outbound: BoundDirection::enforcing(stance(outbound)),
        forwarded: xshield_policy::BoundForwarded::default(),
    }
}

/// Lines of the log, without date and time.
fn lines(texts: &[&str]) -> Vec<FirewallLine> {
    let mut log = FirewallLog::default();
    log.line(COLUMNS).unwrap();
    let line = |text: &&str| log.line(&format!("2026-11-30 12:00:00 {text}")).unwrap();
    texts.iter().filter_map(line).collect()
}

#[test]
fn dropped_packets_that_a_rule_allows_are_found() {
    for (text, rule) in [
        ("DROP TCP 10.0.0.7 10.0.0.9 50000 445 52 S 1 0 65535 - - - RECEIVE", Some("files/smb")),
        ("DROP TCP 10.0.0.7 10.0.0.9 50000 445 52 - - - - - - - RECEIVE", Some("files/smb")),
        ("DROP TCP fd00::7 fd00::9 50000 445 52 S 1 0 65535 - - - RECEIVE", Some("files/smb")),
        ("DROP ICMP 10.0.0.7 10.0.0.9 - - 60 - - - - 8 0 - RECEIVE", Some("all/ping")),
        ("DROP TCP 10.0.0.9 203.0.113.7 50000 443 52 S 1 0 65535 - - - SEND", Some("web/https")),
        // Of a connection that Windows no longer knows.
        ("DROP TCP 10.0.0.7 10.0.0.9 50000 445 40 A 1 1 0 - - - RECEIVE", None),
        ("DROP TCP 10.0.0.7 10.0.0.9 50000 445 40 RA 1 1 0 - - - RECEIVE", None),
        // What the policy may have dropped itself.
        ("DROP TCP 10.0.0.7 10.0.0.9 50000 3389 52 S 1 0 65535 - - - RECEIVE", None),
        ("DROP UDP 10.0.0.7 10.0.0.9 50000 445 60 - - - - - - - RECEIVE", None),
        ("ALLOW TCP 10.0.0.7 10.0.0.9 50000 445 0 - 0 0 0 - - - RECEIVE", None),
        ("DROP TCP 10.0.0.7 224.0.0.251 50000 445 52 S 1 0 65535 - - - RECEIVE", None),
        ("INFO-EVENTS-LOST - - - - - - - - - - - - 9 -", None),
    ] {
        let found = AllowedButDropped::of(&lines(&[text]), &bound(None));
        let found: Vec<&str> = found.0.keys().map(|flow| flow.rule.as_str()).collect();
        assert_eq!(found, Vec::from_iter(rule), "{text}");
    }
}

#[test]
fn outbound_flows_are_not_judged_where_rules_name_programs() {
    let lines = lines(&["DROP TCP 10.0.0.9 203.0.113.7 50000 443 52 S 1 0 65535 - - - SEND"]);
    assert_eq!(AllowedButDropped::of(&lines, &bound(Some(Owner::Uid(0)))).problem(), None);
    assert!(AllowedButDropped::of(&lines, &bound(None)).problem().is_some());
}

#[test]
fn the_flows_with_most_packets_are_named_and_listed_peers_are_left_out() {
    let drop = |peer: u8| {
        format!("DROP TCP 10.0.0.{peer} 10.0.0.9 50000 445 52 S 1 0 65535 - - - RECEIVE")
    };
    let texts: Vec<String> = [1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5].map(drop).into();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = AllowedButDropped::of(&lines(&texts), &bound(None));
    let listed: Vec<LoggedThreat> = found
        .as_blocked(1)
        .into_iter()
        .filter(|flow| flow.source == IpAddr::from([10, 0, 0, 4]))
        .collect();
    assert_eq!(listed.len(), 1);
    let problem = found.without(&listed).problem().unwrap();
    assert_eq!(problem.code, "allowed-but-dropped");
    assert_eq!(
        problem.text,
        "Windows Firewall dropped 7 packets that the policy allows: in tcp 10.0.0.3 -> :445 (rule files/smb), \
         in tcp 10.0.0.2 -> :445 (rule files/smb), in tcp 10.0.0.1 -> :445 (rule files/smb) and 1 more flows. \
         Its rules apply in addition to the policy: allow these flows there as well (netsh advfirewall \
         firewall add rule)"
    );
}
