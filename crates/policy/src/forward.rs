//! Forwarded traffic: flows that the asset forwards for others, to and from containers, virtual machines and
//! further networks.
//!
//! It is not judged unless a document says so: see [`Forwarded`]. It is judged by the rules of the asset: as
//! an inbound flow if opened from outside, as an outbound one if opened from inside. Inside are the host's
//! own virtual networks. Addresses and ports are those that the opener used, before any translation.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bind::Bound;
use crate::decide::{Decision, Judgement, Reason, Verdict, forwarded_failsafe, judge};
use crate::level::Direction;
use crate::packet::{Packet, PacketError};

/// Which forwarded flows the rules of an asset judge. Ordered from open to closed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarded {
    /// None.
    #[default]
    LeaveAlone,
    /// Flows from outside whose destination was translated (DNAT): published ports of containers, forwarded
    /// ports of virtual machines.
    PublishedPorts,
    /// All. Frames within one bridge are switched, not forwarded.
    Everything,
}

/// Whether the destination of a forwarded flow was translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Passage {
    /// Its destination was translated.
    Translated,
    /// It was not.
    Routed,
}

impl Passage {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Translated, Self::Routed];
}

impl Forwarded {
    /// Whether flows of this kind are judged. Flows opened from inside are only covered by
    /// [`Forwarded::Everything`], even if translated: Kubernetes translates the addresses of services, and a
    /// container that uses one does not reach a published port.
    #[must_use]
    pub fn covers(self, direction: Direction, passage: Passage) -> bool {
        match self {
            Self::LeaveAlone => false,
            Self::PublishedPorts => {
                passage == Passage::Translated && direction == Direction::Inbound
            }
            Self::Everything => true,
        }
    }
}

/// The settings for forwarded traffic by direction: enforced or tested like the document's stance for that
/// direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardedRules {
    /// Flows opened from outside.
    pub inbound: ForwardedStance,
    /// Flows opened from inside.
    pub outbound: ForwardedStance,
}

/// Which forwarded flows of one direction each stance judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardedStance {
    /// The enforced stance.
    pub enforced: Forwarded,
    /// The tested stance, if more is in mode `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Forwarded>,
}

impl ForwardedStance {
    /// The stances; the tested one is never less than the enforced one.
    #[must_use]
    pub fn new(enforced: Forwarded, tested: Forwarded) -> Self {
        Self { enforced, tested: Some(tested).filter(|&tested| tested > enforced) }
    }

    /// What the tested stance judges, at least what the enforced one does.
    #[must_use]
    pub fn tested(self) -> Forwarded {
        self.tested.unwrap_or_default().max(self.enforced)
    }

    /// Whether flows of this kind are judged by the enforced stance, and by the tested one.
    #[must_use]
    pub fn covers(self, direction: Direction, passage: Passage) -> (bool, bool) {
        let [enforced, tested] =
            [self.enforced, self.tested()].map(|scope| scope.covers(direction, passage));
        (enforced, tested)
    }
}

impl ForwardedRules {
    /// One direction.
    #[must_use]
    pub fn direction(&self, direction: Direction) -> ForwardedStance {
        match direction {
            Direction::Inbound => self.inbound,
            Direction::Outbound => self.outbound,
        }
    }

    /// Whether any forwarded flow is judged.
    #[must_use]
    pub fn judges(&self) -> bool {
        Direction::BOTH.iter().any(|&direction| {
            let scope = self.direction(direction).tested();
            Passage::BOTH.iter().any(|&passage| scope.covers(direction, passage))
        })
    }
}

/// The interfaces by which this host forwards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interfaces {
    /// Those of the host's own virtual networks: flows that arrive there were opened from inside. An unknown
    /// interface counts as outside.
    pub inner: BTreeSet<InterfaceName>,
    /// All bridges. Packets that enter and leave by the same one are switched.
    pub bridges: BTreeSet<InterfaceName>,
}

/// What is judged of forwarded traffic on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BoundForwarded {
    /// By direction and stance.
    pub rules: ForwardedRules,
    /// The inner interfaces and bridges.
    pub interfaces: Interfaces,
}

/// The name of a network interface: 1 to 15 bytes without white space, `/` and `:` (`dev_valid_name` in
/// net/core/dev.c).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

/// The text is not an interface name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a network interface")]
pub struct InterfaceNameError(String);

impl InterfaceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InterfaceNameError;

    fn try_from(text: String) -> Result<Self, InterfaceNameError> {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '"' | '\\');
        let fits = (1..=15).contains(&text.len()) && !matches!(text.as_str(), "." | "..");
        if fits && text.chars().all(plain) { Ok(Self(text)) } else { Err(InterfaceNameError(text)) }
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        text.to_owned().try_into()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> String {
        name.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first packet of a forwarded flow. Its text form: `forward in tcp 10.0.0.5:40000 -> :80` (routed,
/// opened from outside), `forward published tcp 10.0.0.5:40000 -> :18080` (the same, translated; the port
/// is the published one), `forward out tcp -> 192.0.2.1:443` (opened from inside).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedPacket {
    /// Inbound if it was opened from outside. Then the peer is the opener; otherwise the destination that the
    /// opener used. Ports are the opener's, too.
    pub packet: Packet,
    /// Whether its destination was translated.
    pub passage: Passage,
}

impl FromStr for ForwardedPacket {
    type Err = PacketError;

    fn from_str(text: &str) -> Result<Self, PacketError> {
        let rest = text.trim_start().strip_prefix("forward").unwrap_or(text).trim_start();
        let (parsed, passage) = match rest.strip_prefix("published ") {
            Some(rest) => (format!("in {rest}").parse(), Passage::Translated),
            None => (rest.parse(), Passage::Routed),
        };
        let packet = parsed.map_err(|error: PacketError| {
            let meant = error.meant.map(|meant| match (passage, meant.strip_prefix("in ")) {
                (Passage::Translated, Some(rest)) => format!("forward published {rest}"),
                _ => format!("forward {meant}"),
            });
            PacketError { text: text.to_owned(), meant, ..error }
        })?;
        Ok(Self { packet, passage })
    }
}

impl fmt::Display for ForwardedPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.packet.to_string();
        match (self.passage, text.strip_prefix("in ")) {
            (Passage::Translated, Some(rest)) => write!(f, "forward published {rest}"),
            _ => write!(f, "forward {text}"),
        }
    }
}

/// Judges the first packet of a forwarded flow, like [`crate::decide()`] for the host's own. Of the failsafe,
/// which keeps the host itself reachable, only management and ICMP errors apply here.
#[must_use]
pub fn decide_forwarded(bound: &Bound, forwarded: &ForwardedPacket) -> Decision {
    // No local socket owns it, and it did not arrive by a loopback interface.
    let packet = Packet { loopback: false, owners: Vec::new(), ..forwarded.packet.clone() };
    let scope = bound.forwarded.rules.direction(packet.direction);
    let (enforced, tested) = scope.covers(packet.direction, forwarded.passage);
    let rules = bound.direction(packet.direction);
    let allow = |reason| Decision { verdict: Verdict::Allow, reason };
    if !tested {
        return allow(Reason::LeftAlone);
    }
    if let Some(kind) = forwarded_failsafe(&bound.failsafe, &packet) {
        return allow(Reason::Failsafe(kind));
    }
    let passed = match enforced.then(|| judge(&rules.enforced, bound, &packet)) {
        Some(Judgement::Denied(reason)) => return Decision { verdict: Verdict::Deny, reason },
        Some(Judgement::Passed(reason)) => reason,
        None => Reason::LeftAlone,
    };
    match judge(rules.tested.as_ref().unwrap_or(&rules.enforced), bound, &packet) {
        Judgement::Denied(reason) => Decision { verdict: Verdict::WouldDeny, reason },
        Judgement::Passed(reason) if matches!(passed, Reason::NotSubject | Reason::LeftAlone) => {
            allow(reason)
        }
        Judgement::Passed(_) => allow(passed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "forward in tcp 10.0.0.5:40000 -> :80",
            "forward published tcp 10.0.0.5:40000 -> :18080",
            "forward published udp [2001:db8::5]:40000 -> :53",
            "forward out tcp :0 -> 192.0.2.1:443",
            "forward in icmp 10.0.0.5 type 8",
        ] {
            assert_eq!(text.parse::<ForwardedPacket>().unwrap().to_string(), text);
        }
        assert!("forward tcp 10.0.0.5:1 -> :2".parse::<ForwardedPacket>().is_err());
    }

    #[test]
    fn the_intended_form_is_suggested() {
        for (text, meant) in [
            ("forward in tcp 10.0.0.5:1 => :80", "forward in tcp 10.0.0.5:1 -> :80"),
            ("forward published 80/tcp 10.0.0.5", "forward published tcp 10.0.0.5 -> :80"),
            ("forward out tcp/443 192.0.2.1", "forward out tcp -> 192.0.2.1:443"),
        ] {
            let error = text.parse::<ForwardedPacket>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is not a packet")), "{error}");
            assert!(error.ends_with(&format!("; did you mean '{meant}'?")), "{error}");
        }
    }

    #[test]
    fn interface_names() {
        for right in ["docker0", "br-0123456789ab", "eth0.7", "a"] {
            assert_eq!(right.parse::<InterfaceName>().unwrap().as_str(), right);
        }
        for wrong in ["", ".", "a b", "a/b", "sixteen-letters-", "a:1", "naïve", "a\"b"] {
            assert!(wrong.parse::<InterfaceName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_setting_covers_its_flows() {
        use Direction::{Inbound, Outbound};
        use Passage::{Routed, Translated};
        let kinds =
            [(Inbound, Translated), (Inbound, Routed), (Outbound, Translated), (Outbound, Routed)];
        for (scope, covered) in [
            (Forwarded::LeaveAlone, [false; 4]),
            (Forwarded::PublishedPorts, [true, false, false, false]),
            (Forwarded::Everything, [true; 4]),
        ] {
            assert_eq!(
                kinds.map(|(way, passage)| scope.covers(way, passage)),
                covered,
                "{scope:?}"
            );
        }
        let stance = ForwardedStance::new(Forwarded::Everything, Forwarded::PublishedPorts);
        assert_eq!(stance.tested, None, "a test is never looser than what is enforced");
    }
}
