//! Forwarded packets: this namespace forwards between an outer network, the peer's `v2`, and an inner one,
//! the guest's `v4`, whose port 80 other rules publish as 18080.

use std::net::TcpListener;

use xshield_firewall::{Capabilities, Firewall, FlowKind, KernelState, Traffic, plan};
use xshield_policy::{
    Bound, BoundDirection, Direction, Forwarded, ForwardedPacket, ForwardedRules, ForwardedStance,
    Interfaces, Verdict,
};

use crate::policies::{bound, closed, open, rules};
use crate::world::{
    Connection, Host, address, connect, eventually, in_namespace, nft_objects, ping, sh,
};

const OUTSIDE: u8 = 1;
const INSIDE: u8 = 2;

/// The outer peer and the inner guest.
struct World {
    peer: Host,
    guest: Host,
}

impl World {
    fn new() -> Self {
        let (peer, guest) = (Host::joined_in(OUTSIDE), Host::joined_in(INSIDE));
        sh("echo 1 > /proc/sys/net/ipv4/ip_forward
            echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
            nft -f - << END
            table inet others {
                chain pre { type nat hook prerouting priority -100;
                    iifname v2 meta nfproto ipv4 tcp dport 18080 dnat ip to 10.0.2.2:80
                    iifname v2 meta nfproto ipv6 tcp dport 18080 dnat ip6 to [fd02::2]:80
                    iifname v4 ip daddr 10.96.0.1 tcp dport 443 dnat ip to 10.0.1.2:80; }
                chain post { type nat hook postrouting priority 100;
                    iifname v4 oifname v2 masquerade; }
            }
END");
        let settled = || sh("ip -6 addr show tentative").trim().is_empty();
        eventually("own addresses are in use", std::time::Duration::from_secs(10), settled);
        for (host, n) in [(&peer, OUTSIDE), (&guest, INSIDE)] {
            host.run(move || {
                eventually("addresses are in use", std::time::Duration::from_secs(10), settled);
                sh(&format!(
                    "ip route add default via 10.0.{n}.1; ip -6 route add default via fd0{n}::1"
                ))
            });
        }
        Self { peer, guest }
    }

    /// A server of the guest, on all its addresses.
    fn served(&self) -> TcpListener {
        self.guest.run(|| TcpListener::bind("[::]:80").unwrap())
    }
}

/// From a host to an address.
fn reaches(host: &Host, to: &'static str) -> bool {
    host.run(move || connect(to.parse().unwrap()).is_ok())
}

fn everywhere(scope: Forwarded) -> ForwardedRules {
    let stance = ForwardedStance { enforced: scope, tested: None };
    ForwardedRules { inbound: stance, outbound: stance }
}

fn judging(
    revision: u64,
    inbound: BoundDirection,
    outbound: BoundDirection,
    rules: ForwardedRules,
) -> Bound {
    let mut bound = bound(revision, inbound, outbound);
    bound.forwarded.rules = rules;
    bound.forwarded.interfaces =
        Interfaces { inner: ["v4".parse().unwrap()].into(), bridges: [].into() };
    bound
}

fn put(firewall: &mut Firewall, bound: &Bound) {
    let plan = plan(bound, firewall.capabilities());
    firewall.apply_now(&plan).unwrap();
    let programmed = firewall.read_back().unwrap();
    assert_eq!(programmed.differences(&plan), []);
}

/// Recorded packets of forwarded flows, by kind, opener, other end and port.
fn recorded(kind: FlowKind, source: &str, destination: &str, port: u16) -> u64 {
    let flows = Firewall::open().unwrap().flows().unwrap().flows;
    let wanted = (address(source), address(destination), port, kind, Traffic::Forwarded);
    let flows =
        flows.iter().filter(|f| (f.source, f.destination, f.port, f.kind, f.traffic) == wanted);
    flows.map(|flow| flow.packets).sum()
}

fn explained(packet: &str) -> (Verdict, String) {
    let programmed = Firewall::open().unwrap().read_back().unwrap();
    let packet: ForwardedPacket = packet.parse().unwrap();
    let explained = xshield_firewall::explain_forwarded(&programmed, &packet);
    (explained.verdict, explained.rule.unwrap_or_default())
}

#[test]
fn published_ports_are_judged_by_their_original_destination() {
    in_namespace(|| {
        let world = World::new();
        let _served = world.served();
        let published = ["10.0.1.1:18080", "[fd01::1]:18080"];
        let everything = || published.map(|to| reaches(&world.peer, to));
        let guest_goes_out = || {
            let _far = world.peer.run(|| TcpListener::bind("[::]:80").unwrap());
            (reaches(&world.guest, "10.0.1.2:80"), reaches(&world.guest, "10.96.0.1:443"))
        };
        assert_eq!(everything(), [true; 2], "without a policy");
        assert_eq!(guest_goes_out(), (true, true), "without a policy");

        let mut firewall = Firewall::open().unwrap();
        let alone = bound(1, closed(&[]), closed(&[]));
        put(&mut firewall, &alone);
        assert!(!plan(&alone, firewall.capabilities()).judges_forwarded());
        assert_eq!(everything(), [true; 2], "left alone");

        let published_ports = |revision, allows: &[&str]| {
            judging(revision, closed(allows), closed(&[]), everywhere(Forwarded::PublishedPorts))
        };
        put(&mut firewall, &published_ports(2, &[]));
        assert_eq!(everything(), [false; 2], "closed");
        assert!(recorded(FlowKind::Denied, "10.0.1.2", "10.0.1.1", 18080) > 0);
        assert!(recorded(FlowKind::Denied, "fd01::2", "fd01::1", 18080) > 0);
        let packet = "forward published tcp 10.0.1.2:4000 -> :18080";
        assert_eq!(explained(packet), (Verdict::Deny, "default/closed".to_owned()));
        // What is not published, and what comes from inside, is not judged.
        assert!(reaches(&world.peer, "10.0.2.2:80"), "routed");
        assert_eq!(guest_goes_out(), (true, true), "from inside");
        let packet = "forward in tcp 10.0.1.2:4000 -> :80";
        assert_eq!(explained(packet), (Verdict::Allow, "default/left-alone".to_owned()));

        // The container's own port opens nothing; the published one does, for its peers.
        put(&mut firewall, &published_ports(3, &["a/inner tcp/80 any"]));
        assert_eq!(everything(), [false; 2], "another port is allowed");
        put(&mut firewall, &published_ports(4, &["a/web tcp/18080 10.0.1.2/32"]));
        assert_eq!(everything(), [true, false], "one peer is allowed");
        assert_eq!(recorded(FlowKind::Accepted, "10.0.1.2", "10.0.1.1", 18080), 1);
        let hits = firewall.read_back().unwrap().hits;
        let hit = hits.iter().find(|hit| hit.rule == "a/web").unwrap();
        assert_eq!(hit.direction, Direction::Inbound);
        assert!(hit.packets >= 3, "both sides' packets: {hit:?}");
        firewall.remove().unwrap();
        assert_eq!(everything(), [true; 2], "removed");
    });
}

#[test]
fn everything_judges_both_sides_and_errors_pass() {
    in_namespace(|| {
        let world = World::new();
        let _served = world.served();
        let _far = world.peer.run(|| TcpListener::bind("[::]:80").unwrap());
        let passes = || {
            [
                reaches(&world.peer, "10.0.1.1:18080"),
                reaches(&world.peer, "10.0.2.2:80"),
                reaches(&world.peer, "[fd02::2]:80"),
                reaches(&world.guest, "10.0.1.2:80"),
                reaches(&world.guest, "[fd01::2]:80"),
                reaches(&world.guest, "10.96.0.1:443"),
                world.peer.run(|| ping(address("10.0.2.2"))),
                world.guest.run(|| ping(address("fd01::2"))),
            ]
        };
        assert_eq!(passes(), [true; 8], "without a policy");
        let mut firewall = Firewall::open().unwrap();
        let with = |revision, inbound: &[&str], outbound: &[&str]| {
            let rules = everywhere(Forwarded::Everything);
            judging(revision, closed(inbound), closed(outbound), rules)
        };
        put(&mut firewall, &with(1, &[], &[]));
        assert_eq!(passes(), [false; 8], "closed");
        assert!(recorded(FlowKind::Denied, "10.0.2.2", "10.0.1.2", 80) > 0);
        assert!(recorded(FlowKind::Denied, "10.0.2.2", "10.96.0.1", 443) > 0);
        assert_eq!(recorded(FlowKind::Denied, "10.0.1.2", "10.0.2.2", 8), 1, "a ping");
        let allowed = with(
            2,
            &["a/published tcp/18080 any", "a/ping icmp/echo-request any"],
            &["b/service tcp/443 10.96.0.1/32", "b/v6 tcp/80 fd01::2/128"],
        );
        put(&mut firewall, &allowed);
        let allowed = [true, false, false, false, true, true, true, false];
        assert_eq!(passes(), allowed, "allowed by what the opener asked for");
        let packet = "forward out tcp -> 10.96.0.1:443";
        assert_eq!(explained(packet), (Verdict::Allow, "b/service".to_owned()));
        // An error about a flow that was judged.
        let mut bound = with(3, &["a/published tcp/18080 any"], &["b/far udp/9 any"]);
        bound.inbound.enforced.blocks = rules(&["c/block tcp/18080 10.0.1.3/32"]);
        put(&mut firewall, &bound);
        let refused = world.guest.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(crate::world::TIMEOUT)).unwrap();
            socket.connect("10.0.1.2:9").unwrap();
            socket.send(b"x").unwrap();
            socket.recv(&mut [0; 8]).unwrap_err().kind()
        });
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused, "the error came back");
        let other = world.peer.run(|| {
            let to: std::net::SocketAddr = "10.0.1.1:18080".parse().unwrap();
            let socket = rustix::net::socket(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                None,
            )
            .unwrap();
            let from: std::net::SocketAddr = "10.0.1.3:0".parse().unwrap();
            rustix::net::bind(&socket, &from).unwrap();
            rustix::net::sockopt::set_socket_timeout(
                &socket,
                rustix::net::sockopt::Timeout::Send,
                Some(crate::world::TIMEOUT),
            )
            .unwrap();
            rustix::net::connect(&socket, &to).is_ok()
        });
        assert!(!other, "blocked by address");
        let hits = firewall.read_back().unwrap().hits;
        assert!(hits.iter().any(|hit| hit.rule == "c/block" && hit.packets > 0), "{hits:?}");
    });
}

#[test]
fn tightening_ends_only_the_newly_denied_forwarded_connections() {
    in_namespace(|| {
        let world = World::new();
        let served = world.served();
        let far = world.peer.run(|| TcpListener::bind("[::]:80").unwrap());
        let open = |host: &Host, to: &'static str, listener: &TcpListener| {
            let near = host.run(move || connect(to.parse().unwrap())).unwrap();
            let (far, _) = listener.accept().unwrap();
            Connection::between(near, far)
        };
        let mut published = open(&world.peer, "10.0.1.1:18080", &served);
        let mut routed = open(&world.peer, "[fd02::2]:80", &served);
        let mut outward = open(&world.guest, "10.0.1.2:80", &far);
        let mut service = open(&world.guest, "10.96.0.1:443", &far);
        let mut works =
            || [&mut published, &mut routed, &mut outward, &mut service].map(Connection::works);
        assert_eq!(works(), [true; 4]);
        let mut firewall = Firewall::open().unwrap();
        let allow = |revision, inbound: &[&str], outbound: &[&str]| {
            let rules = everywhere(Forwarded::Everything);
            judging(revision, closed(inbound), closed(outbound), rules)
        };
        let wide = allow(
            1,
            &["a/both tcp/80,tcp/18080 any"],
            &["b/both tcp/80,tcp/443 10.96.0.1/32,10.0.1.2/32"],
        );
        put(&mut firewall, &wide);
        assert_eq!(works(), [true; 4], "all are allowed");
        put(&mut firewall, &allow(2, &["a/one tcp/80 any"], &["b/one tcp/443 any"]));
        assert_eq!(works(), [false, true, false, true], "two are denied");
    });
}

#[test]
fn a_tested_forwarding_level_records_and_drops_nothing() {
    in_namespace(|| {
        let world = World::new();
        let _served = world.served();
        let mut firewall = Firewall::open().unwrap();
        // Published ports are enforced, with one open; everything else is tested.
        let mut bound = judging(1, closed(&["a/web tcp/18080 any"]), open(), Default::default());
        let stance = ForwardedStance::new(Forwarded::PublishedPorts, Forwarded::Everything);
        bound.forwarded.rules = ForwardedRules { inbound: stance, outbound: stance };
        put(&mut firewall, &bound);
        assert!(reaches(&world.peer, "10.0.1.1:18080"), "allowed");
        assert!(reaches(&world.peer, "10.0.2.2:80"), "only tested");
        assert!(recorded(FlowKind::WouldDeny, "10.0.1.2", "10.0.2.2", 80) > 0);
        assert_eq!(recorded(FlowKind::Denied, "10.0.1.2", "10.0.2.2", 80), 0);
        let packet = "forward in tcp 10.0.1.2:4000 -> :80";
        assert_eq!(explained(packet), (Verdict::WouldDeny, "default/closed".to_owned()));
        // Everything in mode `test`.
        let mut bound = judging(
            2,
            BoundDirection::testing(closed(&[]).enforced),
            open(),
            everywhere(Forwarded::PublishedPorts),
        );
        bound.forwarded.rules.inbound =
            ForwardedStance::new(Forwarded::LeaveAlone, Forwarded::PublishedPorts);
        put(&mut firewall, &bound);
        assert!(reaches(&world.peer, "10.0.1.1:18080"), "only tested");
        assert!(recorded(FlowKind::WouldDeny, "10.0.1.2", "10.0.1.1", 18080) > 0);
    });
}

/// Chains at a hook, as nft lists them.
fn forward_hooks() -> usize {
    nft_objects("chain").iter().filter(|chain| chain["hook"] == "forward").count()
}

#[test]
fn the_forward_hook_exists_while_a_ruleset_needs_it() {
    use std::time::Duration;
    in_namespace(|| {
        let world = World::new();
        let _served = world.served();
        let passes = || reaches(&world.peer, "10.0.1.1:18080");
        let mut firewall = Firewall::open().unwrap();
        let alone = plan(&bound(1, closed(&[]), open()), firewall.capabilities());
        let rules = everywhere(Forwarded::PublishedPorts);
        let judging = plan(&judging(2, closed(&[]), open(), rules), firewall.capabilities());
        let minute = Duration::from_secs(60);
        let is = |firewall: &mut Firewall, wanted: &xshield_firewall::Plan, hooks: usize| {
            assert!(matches!(firewall.state().unwrap(), KernelState::InForce(_)));
            assert_eq!(firewall.read_back().unwrap().differences(wanted), []);
            assert_eq!(forward_hooks(), hooks);
            assert_eq!(passes(), hooks == 0);
        };
        firewall.apply_now(&alone).unwrap();
        is(&mut firewall, &alone, 0);

        // On trial above one that does not judge forwarded packets: kept, reverted, expired.
        let trial = firewall.try_apply(&judging, minute).unwrap();
        assert!(!passes(), "on trial");
        firewall.revert(trial).unwrap();
        is(&mut firewall, &alone, 0);
        firewall.try_apply(&judging, Duration::from_millis(1)).unwrap();
        eventually("the trial runs out", minute, || {
            matches!(firewall.state().unwrap(), KernelState::Trial { over: true, .. })
        });
        assert!(passes(), "the old one is back");
        let trial = firewall.try_apply(&judging, minute).unwrap();
        firewall.keep(trial).unwrap();
        is(&mut firewall, &judging, 1);

        // The reverse.
        let trial = firewall.try_apply(&alone, minute).unwrap();
        assert!(passes(), "on trial");
        firewall.revert(trial).unwrap();
        is(&mut firewall, &judging, 1);
        firewall.try_apply(&alone, Duration::from_millis(1)).unwrap();
        eventually("the trial runs out", minute, || {
            matches!(firewall.state().unwrap(), KernelState::Trial { over: true, .. })
        });
        assert!(!passes(), "the old one is back");
        let trial = firewall.try_apply(&alone, minute).unwrap();
        firewall.keep(trial).unwrap();
        is(&mut firewall, &alone, 0);

        // Damage: the hook's chain is deleted, or empty, or contains another program's rule.
        firewall.apply_now(&judging).unwrap();
        is(&mut firewall, &judging, 1);
        for damage in [
            "nft flush chain inet xshield forward; nft delete chain inet xshield forward",
            "nft flush chain inet xshield forward",
            "nft insert rule inet xshield forward accept",
        ] {
            sh(damage);
            assert!(passes(), "{damage}");
            assert!(matches!(firewall.state().unwrap(), KernelState::Damaged { .. }), "{damage}");
            firewall.apply_now(&judging).unwrap();
            is(&mut firewall, &judging, 1);
        }
        firewall.apply_now(&alone).unwrap();
        is(&mut firewall, &alone, 0);
        // Ours alone is gone.
        firewall.remove().unwrap();
        assert!(passes() && sh("nft list ruleset").contains("table inet others"));
    });
}

#[test]
fn capabilities_missing_in_an_older_table_are_detected_again() {
    in_namespace(|| {
        let before = Capabilities { forwarded: false, ..Capabilities::FULL };
        let mut firewall = Firewall::open_with(before).unwrap();
        firewall.apply_now(&plan(&bound(1, closed(&[]), open()), &before)).unwrap();
        assert_eq!(*Firewall::open().unwrap().capabilities(), Capabilities::FULL);
        let rules = everywhere(Forwarded::Everything);
        let unknown = plan(&judging(2, closed(&[]), open(), rules), &before);
        assert!(!unknown.judges_forwarded(), "never without knowing who opened a flow");
    });
}

#[test]
fn nft_decodes_our_rules_as_intended() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let rules = everywhere(Forwarded::Everything);
        let mut bound = judging(1, closed(&["a/web tcp/18080 10.0.1.2/32"]), open(), rules);
        bound.forwarded.interfaces.bridges = ["br0".parse().unwrap()].into();
        put(&mut firewall, &bound);
        let text = sh("nft list table inet xshield");
        for wanted in [
            "ct status dnat goto fwd_translated_a",
            "ct direction reply oifname @inner_a goto fwd_out_a",
            "iifname @inner_a goto fwd_out_a",
            "iifname . oifname @switched_a accept",
            "ct original ip saddr . meta l4proto . ct original proto-dst @allow_in_host4_a",
            "\"v4\" comment \"forwarded/inside\"",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
    });
}
