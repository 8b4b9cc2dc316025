//! Explanations of packets whose destination another program's rules may translate.

use xshield_firewall::{Explanation, Programmed, explain, explain_forwarded};
use xshield_host::linux::forwarding::{Target, Translation, Translations, Versions};
use xshield_policy::packet::Transport;
use xshield_policy::{Direction, ForwardedPacket, Packet, Passage, protocol};

/// Explains a packet of this host's own. If it is forwarded because another program's rule translates it,
/// the explanation is about the forwarded packet.
pub(crate) fn explain_own(programmed: &Programmed, packet: &Packet) -> Explanation {
    let own = explain(programmed, packet);
    match Translations::read() {
        Ok(translations) => followed(programmed, packet, own, &translations),
        Err(error) => own.with_note(unknown(&error)),
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
            return own.with_note(note);
        }
        (_, _, None) if translations.has_unread() => {
            return own.with_note(unread(packet.direction));
        }
        (_, _, None) => return own,
    };
    let translated = ForwardedPacket { packet: packet.clone(), passage: Passage::Translated };
    let verdict = own.verdict_in_words();
    let note = format!(
        "{} translates this port, so the packet is forwarded, not received; where that rule does \
         not apply and a program of this host takes the connection, it is {verdict} by {}",
        rule.place,
        own.rule.as_deref().unwrap_or("no rule")
    );
    explain_forwarded(programmed, &translated).with_note(note)
}

/// A packet that stays on this host and is judged by the destination to which another program's rule sends
/// it.
fn sent_elsewhere(packet: &Packet, rule: &Translation) -> String {
    let then = match (packet.direction, rule.target) {
        (Direction::Inbound, _) => {
            "the packet is judged by the port of this host that it is redirected to; ask with \
             that port"
        }
        (Direction::Outbound, Target::Here) => {
            "the packet stays on this host and passes as loopback traffic, whatever the answer \
             above says"
        }
        (Direction::Outbound, Target::Destination) => {
            "the packet is judged by the destination that it is sent to instead; ask with that \
             destination"
        }
    };
    format!("{} may translate the destination of this packet; where it does, {then}", rule.place)
}

fn unread(direction: Direction) -> String {
    let consequence = match direction {
        Direction::Inbound => {
            "the packet is forwarded or goes to another port, and the answer above does not \
             apply; ask 'forward published …'"
        }
        Direction::Outbound => "the packet is judged by its new destination",
    };
    format!(
        "there are NAT rules of the old iptables interface here, which are not read: if one \
         translates this port, {consequence}"
    )
}

fn unknown(error: &std::io::Error) -> String {
    format!(
        "whether other rules translate this port is not known, since listing them failed \
         ({error}); if one does, the answer above does not apply"
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
