//! Which rule in the kernel decides about a packet: one of the host's own, or one that it passes on.

use std::str::FromStr;

use xshield_firewall::{Explanation, Firewall, Programmed, explain, explain_forwarded};
use xshield_host::linux::forwarding::{Forwarding, ForwardingError};
use xshield_policy::packet::{PacketError, Transport};
use xshield_policy::{Direction, ForwardedPacket, Packet, Passage, Verdict, protocol};

use crate::verbs::VerbError;

/// The packet that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// One end is this host.
    Own(Packet),
    /// This host passes it on.
    Forwarded(ForwardedPacket),
}

impl FromStr for Question {
    type Err = PacketError;

    fn from_str(text: &str) -> Result<Self, PacketError> {
        match text.split_whitespace().next() {
            Some("forward") => text.parse().map(Self::Forwarded),
            _ => text.parse().map(Self::Own),
        }
    }
}

/// Answers from what the kernel holds. A packet to a port that other rules translate never comes to the
/// rules that would judge it as the host's own, so it is followed to where it goes.
///
/// # Errors
/// When nothing is in force or the kernel can't be read.
pub fn answer(question: &Question) -> Result<Explanation, VerbError> {
    let programmed = Firewall::open()?.read_back()?;
    match question {
        Question::Forwarded(packet) => Ok(explain_forwarded(&programmed, packet)),
        Question::Own(packet) => {
            let own = explain(&programmed, packet);
            Ok(match Forwarding::look() {
                Ok(forwarding) => followed(&programmed, packet, own, &forwarding),
                Err(error) => noted(own, unknown(&error)),
            })
        }
    }
}

fn followed(
    programmed: &Programmed,
    packet: &Packet,
    own: Explanation,
    forwarding: &Forwarding,
) -> Explanation {
    let Some((protocol, port)) = port(packet).filter(|_| !packet.loopback) else { return own };
    let translations = &forwarding.translations;
    let Some(rule) = translations.of(protocol, port) else {
        return match translations.has_unread() {
            true => noted(own, unread()),
            false => own,
        };
    };
    let translated = ForwardedPacket { packet: packet.clone(), passage: Passage::Translated };
    let verdict = match own.verdict {
        Verdict::Allow => "allowed",
        Verdict::Deny => "denied",
        Verdict::WouldDeny => "let through, but would be denied in enforce mode",
    };
    let note = format!(
        "{} translates this port, so the packet is forwarded, not received; where that rule does not \
         apply and a program of this host takes the connection, it is {verdict} by {}",
        rule.place,
        own.rule.as_deref().unwrap_or("no rule")
    );
    noted(explain_forwarded(programmed, &translated), note)
}

fn noted(explanation: Explanation, note: String) -> Explanation {
    Explanation { note: Some(note), ..explanation }
}

fn unread() -> String {
    "there are NAT rules of the old iptables interface here, which are not read: if one translates this \
     port, the packet is forwarded, and this is not what becomes of it; ask 'forward published …'"
        .to_owned()
}

fn unknown(error: &ForwardingError) -> String {
    format!(
        "whether other rules translate this port is not known ({}); then the packet would be forwarded, \
         and this would not be what becomes of it",
        crate::state::chain(error)
    )
}

/// Protocol number and destination port of an inbound packet.
fn port(packet: &Packet) -> Option<(u8, u16)> {
    let protocol = match packet.transport {
        Transport::Tcp(..) => protocol::TCP,
        Transport::Udp(..) => protocol::UDP,
        Transport::Sctp(..) => protocol::SCTP,
        Transport::Icmp(_) | Transport::Other(_) => return None,
    };
    let (_, port) = packet.transport.ports()?;
    (packet.direction == Direction::Inbound).then_some((protocol, port))
}
