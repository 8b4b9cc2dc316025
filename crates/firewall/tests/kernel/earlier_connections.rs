//! Connections that are older than connection tracking.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use xshield_firewall::conntrack::{Aligned, Opened, UpdateLimits, align};
use xshield_firewall::{Firewall, FlowKind, plan};
use xshield_policy::{Bound, Direction};

use crate::policies::{bound, closed, open};
use crate::world::{Host, TIMEOUT, connect, firewall, in_each_rendering, sh};

const TELLING: UpdateLimits = UpdateLimits { timeout_seconds: 432_000, room: 1_000 };

/// A connection that was opened before there was any rule.
struct EarlierConnection {
    /// The end that did not open it.
    answerer: TcpStream,
    opener: TcpStream,
    opened: Opened,
}

impl EarlierConnection {
    /// Opened by the peer, to a listener here that was closed since.
    fn inbound(peer: &Host, to: &str) -> Self {
        let listener = TcpListener::bind(to).unwrap();
        let to = listener.local_addr().unwrap();
        Self::of(&listener, peer.run(move || connect(to)).unwrap())
    }

    /// Opened from here.
    fn outbound(peer: &Host, to: &'static str) -> Self {
        let listener = peer.run(move || TcpListener::bind(to)).unwrap();
        let to = listener.local_addr().unwrap();
        Self::of(&listener, connect(to).unwrap())
    }

    fn of(listener: &TcpListener, opener: TcpStream) -> Self {
        let (answerer, from) = listener.accept().unwrap();
        for end in [&opener, &answerer] {
            end.set_read_timeout(Some(TIMEOUT)).unwrap();
        }
        let to = listener.local_addr().unwrap();
        Self { answerer, opener, opened: Opened { from, to } }
    }

    /// Whether the opener receives what the other end sends first.
    fn is_answered(&mut self) -> bool {
        self.answerer.write_all(b"x").unwrap();
        heard(&mut self.opener)
    }

    /// Whether much data passes in both directions, one after the other.
    fn carries_much(&mut self) -> bool {
        let much = vec![7; 4 << 20];
        let carries = |from: &mut TcpStream, to: &mut TcpStream| {
            std::thread::scope(|scope| {
                let sender = scope.spawn(|| from.write_all(&much));
                let came = to.read_exact(&mut vec![0; much.len()]);
                came.is_ok() && sender.join().unwrap().is_ok()
            })
        };
        carries(&mut self.answerer, &mut self.opener)
            && carries(&mut self.opener, &mut self.answerer)
    }
}

fn heard(end: &mut TcpStream) -> bool {
    match end.read_exact(&mut [0]) {
        Ok(()) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Both directions, both families.
fn four(peer: &Host) -> [EarlierConnection; 4] {
    [
        EarlierConnection::inbound(peer, "10.0.0.1:8001"),
        EarlierConnection::inbound(peer, "[fd00::1]:8001"),
        EarlierConnection::outbound(peer, "10.0.0.2:9001"),
        EarlierConnection::outbound(peer, "[fd00::2]:9001"),
    ]
}

fn that_allows_them() -> Bound {
    bound(1, closed(&["a/in tcp/8001 any"]), closed(&["a/out tcp/9001 any"]))
}

fn denied(firewall: &mut Firewall) -> Vec<(Direction, u16)> {
    let flows = firewall.flows().unwrap().flows.into_iter();
    let denied = flows.filter(|flow| flow.kind == FlowKind::Denied);
    denied.map(|flow| (flow.direction, flow.port)).collect()
}

#[test]
fn answers_on_connections_older_than_tracking_pass() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut four = four(&peer);
        let opened = four.each_ref().map(|older| older.opened);
        let told = align(&opened, TELLING).unwrap();
        assert_eq!(told, Aligned { new: 4, ..Aligned::default() });
        let mut firewall = firewall();
        firewall.apply_now(&plan(&that_allows_them(), firewall.capabilities())).unwrap();
        for older in &mut four {
            assert!(older.is_answered(), "{:?}", older.opened);
            assert!(older.carries_much(), "{:?}", older.opened);
        }
        assert_eq!(denied(&mut firewall), []);
        let stray = |hit: &xshield_firewall::Hit| hit.rule == "default/stray";
        assert!(
            !firewall.read_back().unwrap().hits.iter().any(|hit| stray(hit) && hit.packets > 0)
        );
        // Known entries stay as they are, whatever it is informed of.
        let turned = opened.map(|Opened { from, to }| Opened { from: to, to: from });
        assert_eq!(align(&turned, TELLING).unwrap(), Aligned { known: 4, ..Aligned::default() });
        assert!(four.iter_mut().all(EarlierConnection::is_answered));
    });
}

/// Why it must be informed: it takes the side that sends first for the opener.
#[test]
fn without_restored_entries_answers_are_denied() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut four = four(&peer);
        let mut firewall = firewall();
        firewall.apply_now(&plan(&that_allows_them(), firewall.capabilities())).unwrap();
        assert!(!four.iter_mut().any(EarlierConnection::is_answered));
        if !firewall.capabilities().recorder {
            return;
        }
        assert_eq!(denied(&mut firewall).len(), 4);
    });
}

/// The side that did not open a connection can't keep it by sending first.
#[test]
fn a_denied_connection_older_than_tracking_ends() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut inbound = EarlierConnection::inbound(&peer, "10.0.0.1:8002");
        align(&[inbound.opened], TELLING).unwrap();
        let mut firewall = firewall();
        let policy = bound(1, closed(&["a/in tcp/8001 any"]), open());
        firewall.apply_now(&plan(&policy, firewall.capabilities())).unwrap();
        assert!(!inbound.is_answered(), "{:?}", inbound.opened);
        inbound.opener.write_all(b"x").unwrap();
        assert!(!heard(&mut inbound.answerer));
        if !firewall.capabilities().recorder {
            return;
        }
        assert_eq!(denied(&mut firewall), [(Direction::Inbound, 8002)]);
    });
}

/// After `conntrack -F`, open connections work again as soon as tracking is informed of them.
#[test]
fn connections_lost_by_conntrack_are_restored() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut firewall = firewall();
        firewall.apply_now(&plan(&that_allows_them(), firewall.capabilities())).unwrap();
        let mut four = four(&peer);
        assert!(
            four.iter_mut().all(EarlierConnection::is_answered),
            "tracking saw them being opened"
        );
        let opened = four.each_ref().map(|older| older.opened);
        assert_eq!(align(&opened, TELLING).unwrap(), Aligned { known: 4, ..Aligned::default() });

        sh("conntrack -F");
        assert!(
            !four.iter_mut().any(EarlierConnection::is_answered),
            "nobody knows who opened them"
        );
        let _ = firewall.flows().unwrap();
        assert_eq!(align(&opened, TELLING).unwrap(), Aligned { new: 4, ..Aligned::default() });
        for older in &mut four {
            // Denied packets are retransmitted, each time after twice as long.
            older.opener.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            assert!(heard(&mut older.opener), "{:?}", older.opened);
            assert!(older.carries_much(), "{:?}", older.opened);
        }
    });
}

/// If the side that did not open a connection may send, tracking takes it for the opener, and the opener's
/// packets are denied for good.
#[test]
fn connections_picked_up_in_the_wrong_direction_are_corrected() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let mut inbound = EarlierConnection::inbound(&peer, "10.0.0.1:8002");
        let mut firewall = firewall();
        let policy = bound(1, closed(&["a/in tcp/8001 any"]), open());
        firewall.apply_now(&plan(&policy, firewall.capabilities())).unwrap();
        assert!(inbound.is_answered(), "it passes as a flow of this host");
        // Not every kernel has marks.
        let is_marked = sh("conntrack -U -m 77 2>&1 || true").contains("mark=77");

        let told = align(&[inbound.opened], TELLING).unwrap();
        assert_eq!(told, Aligned { turned: 1, ..Aligned::default() });
        assert!(!inbound.is_answered(), "it is one of the peer's, which the policy denies");
        let listed = sh("conntrack -L -p tcp --orig-port-dst 8002");
        assert!(!is_marked || listed.contains("mark=77"), "{listed}");
        let told = align(&[inbound.opened], TELLING).unwrap();
        assert_eq!(told, Aligned { known: 1, ..Aligned::default() });
    });
}

#[test]
fn restored_conntrack_entries_are_limited_by_space() {
    in_each_rendering(|| {
        let peer = Host::joined();
        let four = four(&peer);
        let opened = four.each_ref().map(|older| older.opened);
        let told = align(&opened, UpdateLimits { room: 3, ..TELLING }).unwrap();
        assert_eq!(told, Aligned { new: 3, left_out: 1, ..Aligned::default() });
    });
}
