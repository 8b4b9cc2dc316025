//! Real packets between two namespaces: this one under test, and a peer.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, ipproto};
use xshield_firewall::flows::FlowCount;
use xshield_firewall::{Action, Firewall, FlowKind, Losses, explain, plan};
use xshield_policy::{BoundDirection, BoundStance, Direction, Owner, Protocol};

use crate::policies::{bound, closed, open, rules};
use crate::world::{
    Connection, Host, address, connect, datagram_arrives, eventually, firewall, in_each_rendering,
    in_namespace, ping, sh,
};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn tightening_ends_only_the_newly_denied_flows() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        let listen = |port: u16| TcpListener::bind(("10.0.0.1", port)).unwrap();
        let (kept, cut) = (listen(8001), listen(8002));
        let (far_kept, far_cut) = peer.run(|| {
            let listen = |port: u16| TcpListener::bind(("10.0.0.2", port)).unwrap();
            (listen(9001), listen(9002))
        });
        let inward = |listener: &TcpListener| {
            let from_peer = |to| peer.run(move || connect(to));
            Connection::open(from_peer, listener).expect("passes without policy")
        };
        let wide =
            bound(1, closed(&["a/both tcp/8001-8002 any"]), closed(&["b/both tcp/9001-9002 any"]));
        firewall.apply_now(&plan(&wide, firewall.capabilities())).unwrap();
        let mut in_kept = inward(&kept);
        let mut in_cut = inward(&cut);
        let mut out_kept = Connection::open(connect, &far_kept).expect("allowed");
        let mut out_cut = Connection::open(connect, &far_cut).expect("allowed");
        for connection in [&mut in_kept, &mut in_cut, &mut out_kept, &mut out_cut] {
            assert!(connection.works());
        }

        let tight = bound(2, closed(&["a/one tcp/8001 any"]), closed(&["b/one tcp/9001 any"]));
        firewall.apply_now(&plan(&tight, firewall.capabilities())).unwrap();
        assert!(in_kept.works(), "inbound, still allowed");
        assert!(!in_cut.works(), "inbound, now denied");
        assert!(out_kept.works(), "outbound, still allowed");
        assert!(!out_cut.works(), "outbound, now denied");
        assert!(peer.run(|| connect("10.0.0.1:8002".parse().unwrap())).is_err(), "nor anew");

        // Back again: the flows still work if TCP has not given up.
        firewall.apply_now(&plan(&wide, firewall.capabilities())).unwrap();
        assert!(Connection::open(|to| peer.run(move || connect(to)), &cut).is_some());
    });
}

#[test]
fn a_newly_blocked_flow_is_recorded_counted_and_explained() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        let here = UdpSocket::bind("10.0.0.1:5000").unwrap();
        let there = peer.run(|| UdpSocket::bind("10.0.0.2:6000").unwrap());
        assert!(datagram_arrives(&there, &here), "passes without policy");

        let mut closed_in = closed(&["a/other udp/5001 any"]);
        closed_in.enforced.blocks = rules(&["bad/guest tcp 10.0.0.3/32"]);
        let policy = bound(1, closed_in, open());
        let plan = plan(&policy, firewall.capabilities());
        let trial = firewall.try_apply(&plan, MINUTE).unwrap();
        firewall.keep(trial).unwrap();
        assert!(!datagram_arrives(&there, &here), "denied");
        let allowed = UdpSocket::bind("10.0.0.1:5001").unwrap();
        assert!(datagram_arrives(&there, &allowed), "allowed");

        let programmed = firewall.read_back().unwrap();
        let hit = |rule: &str| programmed.hits.iter().find(|hit| hit.rule == rule).unwrap();
        assert_eq!((hit("a/other").packets, hit("a/other").action), (1, Action::Allow));
        assert_eq!(hit("default/closed").packets, 1);
        assert_eq!(hit("bad/guest").action, Action::Block);

        let why = |packet: &str| explain(&programmed, &packet.parse().unwrap());
        let rule = |packet: &str| why(packet).rule.unwrap();
        assert_eq!(rule("in udp 10.0.0.2:6000 -> :5001"), "a/other");
        assert_eq!(rule("in tcp 10.0.0.3:6000 -> :5001"), "bad/guest");
        assert_eq!(rule("in udp 10.0.0.2:6000 -> :5000"), "default/closed");
        assert!(why("in udp 10.0.0.2:6000 -> :5000").to_string().starts_with("denied by"));

        if !firewall.capabilities().recorder {
            return;
        }
        let dump = firewall.flows().unwrap();
        let flow = |kind: FlowKind, port: u16| {
            let found = dump.flows.iter().find(|flow| flow.kind == kind && flow.port == port);
            found.unwrap_or_else(|| panic!("no {kind:?} flow to port {port} in {:#?}", dump.flows))
        };
        let denied = flow(FlowKind::Denied, 5000);
        assert_eq!((denied.source, denied.destination), (address("10.0.0.2"), address("10.0.0.1")));
        assert_eq!((denied.protocol, denied.direction), (Protocol::Udp, Direction::Inbound));
        assert_eq!((denied.packets, denied.bytes), (1, 33));
        assert!((3_500_000..=3_600_000).contains(&denied.expires_in_ms), "{denied:?}");
        assert_eq!(flow(FlowKind::Accepted, 5001).packets, 1);

        // The recorder knows when the last packet arrived: the idle time grows, and each packet resets it.
        let mut idle_ms = || {
            let flows = firewall.flows().unwrap().flows;
            let same = |flow: &&FlowCount| flow.kind == FlowKind::Denied && flow.port == 5000;
            flows.iter().find(same).unwrap().idle_ms
        };
        eventually("the flow has been idle", MINUTE, || idle_ms() >= 1_500);
        let began = Instant::now();
        assert!(!datagram_arrives(&there, &here), "denied");
        let idle = idle_ms();
        // At most one tick more.
        assert!(u128::from(idle) <= began.elapsed().as_millis() + 100, "idle for {idle} ms");

        // The counts stay when the ruleset is replaced; the old rule's last hits are returned.
        let next = xshield_firewall::plan(&bound(2, open(), open()), firewall.capabilities());
        let trial = firewall.try_apply(&next, MINUTE).unwrap();
        let kept = firewall.keep(trial).unwrap();
        assert!(kept.final_hits.iter().any(|hit| hit.rule == "a/other" && hit.packets == 1));
        assert!(firewall.flows().unwrap().flows.iter().any(|flow| flow.port == 5000));
        assert!(datagram_arrives(&there, &here), "open again");
    });
}

#[test]
fn test_mode_passes_and_records() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        let testing = BoundDirection::testing(BoundStance::closed());
        let policy = bound(1, testing.clone(), testing);
        firewall.apply_now(&plan(&policy, firewall.capabilities())).unwrap();
        let here = TcpListener::bind("[fd00::1]:8001").unwrap();
        let mut connection =
            Connection::open(|to| peer.run(move || connect(to)), &here).expect("test mode passes");
        assert!(connection.works());
        if !firewall.capabilities().recorder {
            return;
        }
        let flows = firewall.flows().unwrap().flows;
        let would = flows.iter().find(|flow| flow.port == 8001).unwrap();
        assert_eq!((would.kind, would.direction), (FlowKind::WouldDeny, Direction::Inbound));
        assert_eq!(would.source, address("fd00::2"));
        assert!(would.packets >= 3, "{would:?}");
        assert!(flows.iter().all(|flow| flow.kind != FlowKind::Denied), "{flows:#?}");
    });
}

#[test]
fn replies_and_icmp_errors_follow_their_flow() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        let out = |to: &str| ping(address(to));
        let ping_us = |host: &Host| host.run(|| ping(address("fd00::1")));
        assert!(out("10.0.0.2") && out("fd00::2") && ping_us(&peer), "passes without policy");
        let policy = bound(1, closed(&[]), closed(&["ping icmp/echo-request any", "udp udp any"]));
        firewall.apply_now(&plan(&policy, firewall.capabilities())).unwrap();
        assert!(out("10.0.0.2") && out("fd00::2"), "out is allowed, answers come back");
        assert!(!ping_us(&peer), "in is not");
        // A closed port there: the ICMP error comes back in.
        let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
        socket.connect("10.0.0.2:4").unwrap();
        eventually("connection refused", Duration::from_secs(2), || {
            socket.send(b"x").is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        if !firewall.capabilities().recorder {
            return;
        }
        let flows = firewall.flows().unwrap().flows;
        let denied = flows.iter().find(|flow| flow.kind == FlowKind::Denied).unwrap();
        assert_eq!((denied.protocol, denied.port), (Protocol::Icmp, 128));
    });
}

#[test]
fn a_full_recorder_counts_what_it_lost() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        if !firewall.capabilities().recorder {
            return;
        }
        let mut small = plan(&bound(1, closed(&[]), open()), firewall.capabilities());
        for set in &mut small.recorder.sets {
            set.size = 4;
        }
        firewall.apply_now(&small).unwrap();
        peer.run(|| {
            let socket = UdpSocket::bind("10.0.0.2:0").unwrap();
            for port in 100..110 {
                socket.send_to(b"x", ("10.0.0.1", port)).unwrap();
            }
        });
        let dump = firewall.flows().unwrap();
        assert_eq!(dump.flows.len(), 4, "{dump:?}");
        let losses = firewall.read_back().unwrap().losses;
        assert_eq!(losses, Losses { epoch: dump.epoch, packets: 6 });
    });
}

#[test]
fn owners_are_distinguished() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        let far = peer.run(|| TcpListener::bind("10.0.0.2:9001").unwrap());
        let policy = |uid: u32| {
            let mut outbound = closed(&["out/program tcp/9001 any"]);
            outbound.enforced.allows[0].owner = Some(Owner::Uid(uid));
            bound(uid.into(), open(), outbound)
        };
        let us = rustix::process::getuid().as_raw();
        firewall.apply_now(&plan(&policy(us), firewall.capabilities())).unwrap();
        let mut connection = Connection::open(connect, &far).expect("our own");
        assert!(connection.works());
        firewall.apply_now(&plan(&policy(us + 1), firewall.capabilities())).unwrap();
        assert!(!connection.works(), "another's");
        assert!(connect("10.0.0.2:9001".parse().unwrap()).is_err());
        let recorded = |firewall: &mut Firewall| {
            let flows = firewall.flows().unwrap().flows;
            flows.into_iter().filter(|flow| flow.kind == FlowKind::Denied).count()
        };
        let expected = usize::from(firewall.capabilities().recorder);
        assert_eq!(recorded(&mut firewall), expected);
        let text = firewall.read_back().unwrap().to_string();
        assert!(text.contains(&format!("meta skuid {}", us + 1)), "{text}");
    });
}

/// The kernel's own last packets for a closed socket belong to no user, and are not denials.
#[test]
fn closing_an_owners_connection_is_not_a_denial() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        let far = peer.run(|| TcpListener::bind("10.0.0.2:9001").unwrap());
        let mut outbound = closed(&["out/program tcp/9001 any"]);
        outbound.enforced.allows[0].owner = Some(Owner::Uid(rustix::process::getuid().as_raw()));
        firewall.apply_now(&plan(&bound(1, open(), outbound), firewall.capabilities())).unwrap();
        for _ in 0..5 {
            let mut connection = Connection::open(connect, &far).expect("our own");
            assert!(connection.works());
            connection.close_near_first();
        }
        let flows = firewall.flows().unwrap().flows;
        assert!(flows.iter().all(|flow| flow.kind == FlowKind::Accepted), "{flows:#?}");
    });
}

/// A flow that the peer has started does not allow us to open one to the peer (simultaneous open, RFC 9293).
#[test]
fn the_sender_of_the_syn_is_the_opener() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        if !firewall.capabilities().recorder {
            return;
        }
        let far = peer.run(|| TcpListener::bind("10.0.0.2:9001").unwrap());
        let wide = bound(1, closed(&["in/any tcp any"]), closed(&[]));
        // Our TCP must not reset what it doesn't know, since conntrack would see that.
        sh("nft add table ip raw
            nft add chain ip raw output '{ type filter hook output priority -300; }'
            nft add rule ip raw output 'tcp flags & rst == rst drop'");
        // The peer opens 10.0.0.2:9001 -> 10.0.0.1:7001, which is allowed and not answered.
        firewall.apply_now(&plan(&wide, firewall.capabilities())).unwrap();
        peer.run(|| send_syn(9001, 7001));
        let near = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let from: SocketAddr = "10.0.0.1:7001".parse().unwrap();
        rustix::net::bind(&near, &from).unwrap();
        let near = std::net::TcpStream::from(near);
        near.set_nonblocking(true).unwrap();
        let to: SocketAddr = "10.0.0.2:9001".parse().unwrap();
        let _ = rustix::net::connect(&near, &to);
        eventually("the SYN is denied", Duration::from_secs(2), || {
            let flows = firewall.flows().unwrap().flows;
            flows.iter().any(|flow| flow.kind == FlowKind::Denied && flow.port == 9001)
        });
        far.set_nonblocking(true).unwrap();
        assert!(far.accept().is_err());
    });
}

/// Sends a handmade TCP segment with SYN from `10.0.0.2` to `10.0.0.1`.
fn send_syn(from: u16, to: u16) {
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP)).unwrap();
    let socket = UdpSocket::from(socket);
    let mut segment = [0u8; 20];
    segment[0..2].copy_from_slice(&from.to_be_bytes());
    segment[2..4].copy_from_slice(&to.to_be_bytes());
    segment[7] = 1;
    segment[12] = 5 << 4;
    segment[13] = 0x02;
    segment[14] = 0x20;
    let pseudo = [10, 0, 0, 2, 10, 0, 0, 1, 0, 6, 0, 20];
    let words = pseudo.chunks(2).chain(segment.chunks(2));
    let sum = words.fold(0u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    segment[16..18].copy_from_slice(&(!folded).to_be_bytes());
    socket.send_to(&segment, ("10.0.0.1", 0)).unwrap();
}

#[test]
fn ruleset_swaps_neither_drop_nor_leak_packets() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        let allowed = UdpSocket::bind("10.0.0.1:5001").unwrap();
        let denied = UdpSocket::bind("10.0.0.1:5002").unwrap();
        let there = peer.run(|| UdpSocket::bind("10.0.0.2:6000").unwrap());
        assert!(datagram_arrives(&there, &denied), "passes without policy");
        let policies: Vec<_> = (1..=100)
            .map(|n| {
                bound(n, closed(&["a/yes udp/5001 any", &format!("a/more tcp/{n} any")]), open())
            })
            .map(|bound| plan(&bound, firewall.capabilities()))
            .collect();
        firewall.apply_now(&policies[0]).unwrap();
        let swapping = std::thread::spawn(move || {
            for plan in &policies[1..] {
                let trial = firewall.try_apply(plan, MINUTE).unwrap();
                firewall.keep(trial).unwrap();
            }
        });
        let mut rounds = 0;
        while !swapping.is_finished() || rounds == 0 {
            there.send_to(b"no", denied.local_addr().unwrap()).unwrap();
            assert!(datagram_arrives(&there, &allowed), "lost in round {rounds}");
            rounds += 1;
        }
        swapping.join().unwrap();
        denied.set_nonblocking(true).unwrap();
        assert!(denied.recv(&mut [0; 16]).is_err(), "leaked");
        println!("{rounds} datagrams during 99 swaps");
    });
}

/// A cgroup of the test, deleted when dropped.
pub(crate) struct Cgroup(std::path::PathBuf);

impl Cgroup {
    pub(crate) const NAME: &str = "xshield-firewall-test";

    pub(crate) fn make() -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(std::path::Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists())?;
        let path = root.join(Self::NAME);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => None,
            _ => Some(Self(path)),
        }
    }

    /// Whether a program in the cgroup reaches the peer.
    fn connects(&self, to: &str) -> bool {
        let (address, port) = to.split_once(':').unwrap();
        let join = format!("echo $$ > {}/cgroup.procs", self.0.display());
        let command = format!("{join}; exec timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}'");
        std::process::Command::new("bash").args(["-c", &command]).status().unwrap().success()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while a program that just ended is still counted; the next test run reuses it.
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn cgroups_are_distinguished() {
    in_namespace(|| {
        let peer = Host::joined();
        let mut firewall = Firewall::open().unwrap();
        let Some(cgroup) = Cgroup::make().filter(|_| firewall.capabilities().cgroups) else {
            eprintln!("SKIPPED: no cgroup v2 that can be written, or a kernel that can't match it");
            return;
        };
        let _far = peer.run(|| TcpListener::bind("10.0.0.2:9001").unwrap());
        assert!(cgroup.connects("10.0.0.2:9001"), "passes without policy");
        let mut outbound = closed(&["out/program tcp/9001 any"]);
        outbound.enforced.allows[0].owner = Some(Owner::Cgroup(Cgroup::NAME.to_owned()));
        let plan = plan(&bound(1, open(), outbound), firewall.capabilities());
        firewall.apply_now(&plan).unwrap();
        assert_eq!(firewall.read_back().unwrap().differences(&plan), []);
        assert!(cgroup.connects("10.0.0.2:9001"), "in the cgroup");
        assert!(connect("10.0.0.2:9001".parse().unwrap()).is_err(), "outside of it");
    });
}
