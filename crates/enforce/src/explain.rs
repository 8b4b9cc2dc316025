//! Which rule in the kernel decides about a packet: one of the host's own, or one that it passes on.

use std::str::FromStr;

use xshield_firewall::{Explanation, Firewall, Programmed, explain, explain_forwarded};
use xshield_host::linux::forwarding::{Target, Translation, Translations, Versions};
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

/// Answers from what the kernel holds. Rules of others may translate a packet's destination before ours
/// judge it. One that is forwarded for it is followed to where it goes; of any other is said that it is
/// judged by its new destination.
///
/// # Errors
/// When nothing is in force or the kernel can't be read.
pub fn answer(question: &Question) -> Result<Explanation, VerbError> {
    let programmed = Firewall::open()?.read_back()?;
    match question {
        Question::Forwarded(packet) => Ok(explain_forwarded(&programmed, packet)),
        Question::Own(packet) => {
            let own = explain(&programmed, packet);
            Ok(match Translations::read() {
                Ok(translations) => followed(&programmed, packet, own, &translations),
                Err(error) => noted(own, unknown(&error)),
            })
        }
    }
}

fn followed(
    programmed: &Programmed,
    packet: &Packet,
    own: Explanation,
    translations: &Translations,
) -> Explanation {
    let Some((protocol, port)) = port(packet).filter(|_| !packet.loopback) else { return own };
    let published = translations.of(protocol, port).filter(|_| Versions::now().any());
    let elsewhere = match packet.direction {
        Direction::Inbound => translations.redirecting(protocol, port),
        Direction::Outbound => translations.of_own(protocol, port),
    };
    let rule = match (packet.direction, published, elsewhere) {
        (Direction::Inbound, Some(rule), _) => rule,
        (_, _, Some(rule)) => {
            let note = sent_elsewhere(packet, rule);
            return noted(own, note);
        }
        (_, _, None) if translations.has_unread() => return noted(own, unread(packet.direction)),
        (_, _, None) => return own,
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

/// A packet that stays this host's own, and is judged by where a rule of others sends it.
fn sent_elsewhere(packet: &Packet, rule: &Translation) -> String {
    let then = match (packet.direction, rule.target) {
        (Direction::Inbound, _) => {
            "the packet is judged by the port of this host that it is redirected to; ask with that port"
        }
        (Direction::Outbound, Target::Here) => {
            "the packet stays on this host and passes as loopback traffic, whatever this says"
        }
        (Direction::Outbound, Target::Destination) => {
            "the packet is judged by the destination that it is sent to instead; ask with that one"
        }
    };
    format!("{} may translate the destination of this packet; where it does, {then}", rule.place)
}

fn unread(direction: Direction) -> String {
    let consequence = match direction {
        Direction::Inbound => {
            "the packet is forwarded or goes to another port, and this is not what becomes of it; ask \
             'forward published …'"
        }
        Direction::Outbound => "the packet is judged by its new destination",
    };
    format!(
        "there are NAT rules of the old iptables interface here, which are not read: if one translates \
         this port, {consequence}"
    )
}

fn unknown(error: &std::io::Error) -> String {
    format!(
        "whether other rules translate this port is not known, since listing them failed ({error}); if \
         one does, this is not what becomes of the packet"
    )
}

/// Protocol number and destination port.
fn port(packet: &Packet) -> Option<(u8, u16)> {
    let protocol = match packet.transport {
        Transport::Tcp(..) => protocol::TCP,
        Transport::Udp(..) => protocol::UDP,
        Transport::Sctp(..) => protocol::SCTP,
        Transport::Icmp(_) | Transport::Other(_) => return None,
    };
    let (_, port) = packet.transport.ports()?;
    Some((protocol, port))
}
