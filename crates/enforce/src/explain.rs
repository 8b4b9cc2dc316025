//! Explains which rule in the kernel decides about a packet of the host or about a forwarded one.

use std::net::IpAddr;

use xshield_firewall::{Explanation, Programmed, explain_forwarded};
use xshield_policy::packet::PacketError;
use xshield_policy::{Direction, ForwardedPacket, LocalProgram, Packet, ProgramError};

use crate::core::kernel::Kernel;
use crate::os::{self, Identity, SystemError, identities};
use crate::verb_error::VerbError;

/// A question: a packet, and optionally its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    packet: Asked,
    by: Option<LocalProgram>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// One end is this host.
    Own(Packet),
    /// This host forwards it.
    Forwarded(ForwardedPacket),
}

/// Why a question can't be parsed.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The part before `as` is not a packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The part after `as` is not a program.
    #[error("after 'as'")]
    Program(#[from] ProgramError),
    /// The kernel knows the program of outbound packets only.
    #[error(
        "'as' is for flows that this host opens: inbound, a rule for a program opens the ports on \
         which the program listens, whoever asks; leave 'as …' out"
    )]
    NotOutbound,
    /// Whether the flow is inbound can't be determined.
    #[error("this host's own addresses can't be determined: begin with 'in' or 'out'")]
    Addresses(#[from] SystemError),
}

impl Question {
    /// Parses `PACKET` or `PACKET as PROGRAM`. `PACKET` has the syntax of [`Packet`] or [`ForwardedPacket`],
    /// which includes flows as lists of events show them; `PROGRAM` has that of [`LocalProgram::from_words`].
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn read(text: &str) -> Result<Self, QuestionError> {
        let own = os::all_addresses()?;
        Self::read_at(text, &own)
    }

    fn read_at(text: &str, own: &[IpAddr]) -> Result<Self, QuestionError> {
        let (packet, by) = match text.split_once(" as ") {
            Some((packet, program)) => (packet, Some(LocalProgram::from_words(program.trim())?)),
            None => (text, None),
        };
        let packet = match packet.split_whitespace().next() {
            Some("forward") => Asked::Forwarded(packet.parse()?),
            _ => Asked::Own(Packet::read(packet, |address| own.contains(&address))?),
        };
        match (&packet, &by) {
            (Asked::Own(Packet { direction: Direction::Outbound, .. }), _) | (_, None) => {
                Ok(Self { packet, by })
            }
            _ => Err(QuestionError::NotOutbound),
        }
    }
}

/// Answers from what the kernel holds. Other programs' rules may translate a packet's destination before our
/// rules judge it. If it is forwarded because of that, the answer is about the forwarded packet; otherwise
/// the answer says that the packet is judged by its new destination.
///
/// # Errors
/// When nothing is in force, the kernel can't be read, or the program can't be identified.
pub fn answer(question: &Question) -> Result<Explanation, VerbError> {
    let programmed = Kernel::read_back(&mut os::open_firewall()?, None)?.programmed;
    match (&question.packet, &question.by) {
        (Asked::Forwarded(packet), _) => Ok(explain_forwarded(&programmed, packet)),
        (Asked::Own(packet), None) => Ok(os::explain_own(&programmed, packet)),
        (Asked::Own(packet), Some(program)) => {
            let seen = identities(program).map_err(VerbError::Program)?;
            Ok(by_program(&programmed, packet, &seen))
        }
    }
}

/// The verdicts for the packet as each of these programs would send it; verdicts that differ from the first
/// are listed beside it.
fn by_program(programmed: &Programmed, packet: &Packet, seen: &[Identity]) -> Explanation {
    let mut answers = seen.iter().map(|identity| {
        let packet = Packet { owners: identity.owners.clone(), ..packet.clone() };
        (&identity.shown, os::explain_own(programmed, &packet))
    });
    let Some((first, answer)) = answers.next() else { return os::explain_own(programmed, packet) };
    let others =
        answers.filter(|(_, other)| (other.verdict, &other.rule) != (answer.verdict, &answer.rule));
    let others: Vec<String> = others
        .map(|(shown, other)| {
            let rule = other.rule.as_deref().unwrap_or("no rule");
            format!("of {shown} it would be {} by {rule}", other.verdict_in_words())
        })
        .collect();
    let also = answer.note.clone().into_iter();
    let note = [format!("as {first} sends it")].into_iter().chain(others).chain(also);
    let note = note.collect::<Vec<_>>().join("; ");
    answer.with_note(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_parsed_as_written_and_as_shown_in_events() {
        let own: [IpAddr; 1] = ["10.0.0.9".parse().unwrap()];
        for (text, packet, program) in [
            ("in tcp 10.0.0.5:40000 -> :22", "in tcp 10.0.0.5:40000 -> :22", None),
            ("tcp 10.0.0.5 -> 10.0.0.9:22", "in tcp 10.0.0.5:0 -> 10.0.0.9:22", None),
            (
                "tcp 10.0.0.9 -> 10.0.0.5:5432 as user:postgres",
                "out tcp 10.0.0.9:0 -> 10.0.0.5:5432",
                Some("user postgres"),
            ),
            (
                "out udp -> 192.0.2.1:53 as process:/usr/bin/app,user:www",
                "out udp :0 -> 192.0.2.1:53",
                Some("process /usr/bin/app, user www"),
            ),
            ("forward in tcp 10.0.0.5:1 -> :80", "forward in tcp 10.0.0.5:1 -> :80", None),
        ] {
            let question = Question::read_at(text, &own).unwrap();
            let read = match &question.packet {
                Asked::Own(packet) => packet.to_string(),
                Asked::Forwarded(packet) => packet.to_string(),
            };
            assert_eq!(read, packet, "{text}");
            assert_eq!(question.by.map(|by| by.to_string()).as_deref(), program, "{text}");
        }
        for (text, reason) in [
            ("tcp 10.0.0.5 -> 10.0.0.9:22 as user:postgres", "for flows that this host opens"),
            ("forward in tcp 10.0.0.5:1 -> :80 as user:a", "for flows that this host opens"),
            ("out tcp -> 10.0.0.5:22 as postgres", "after 'as'"),
            ("tcp 10.0.0.5 -> 10.0.0.6:22", "neither end"),
        ] {
            let error = Question::read_at(text, &own).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
