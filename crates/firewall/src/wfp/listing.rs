//! Filters that were read back, as text in the words of Windows: for people, and for the platform.

use std::fmt::{self, Write};

use xshield_policy::Owner;

use crate::plan::{
    Chain, Condition, ENTRY_IN, ENTRY_OUT, Family, Field, Line, Naming, Next, Value,
    write_condition,
};

/// The chains of the ICMP error layers, which packets of `in` and `out` do not reach.
pub(super) const ICMP_ERRORS: [&str; 2] = ["icmp_error_in", "icmp_error_out"];

/// Whose flows a chain's filters judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opener {
    Peer,
    Host,
}

/// The layer of a chain's filters; `None` of chains that stand for no layer.
fn layer_of(chain: &str) -> Option<(&'static str, Opener)> {
    match chain {
        ENTRY_IN => Some(("ALE_AUTH_RECV_ACCEPT", Opener::Peer)),
        ENTRY_OUT => Some(("ALE_AUTH_CONNECT", Opener::Host)),
        name if name == ICMP_ERRORS[0] => Some(("INBOUND_ICMP_ERROR", Opener::Peer)),
        name if name == ICMP_ERRORS[1] => Some(("OUTBOUND_ICMP_ERROR", Opener::Host)),
        _ => None,
    }
}

/// Writes the filters of a layer, in their order of evaluation.
pub(crate) fn write_layer(f: &mut impl Write, chain: &Chain) -> fmt::Result {
    let Some((layer, _)) = layer_of(&chain.name) else { return Ok(()) };
    writeln!(f, "{layer}")?;
    for line in &chain.lines {
        f.write_str("  ")?;
        write_filter(f, &chain.name, line)?;
        f.write_char('\n')?;
    }
    Ok(())
}

/// Writes a filter of a layer, as its step in an explanation.
pub(crate) fn write_step(f: &mut impl Write, chain: &str, line: &Line) -> fmt::Result {
    if let Some((layer, _)) = layer_of(chain) {
        write!(f, "{layer}: ")?;
    }
    write_filter(f, chain, line)
}

fn write_filter(f: &mut impl Write, chain: &str, line: &Line) -> fmt::Result {
    let opener = layer_of(chain).map_or(Opener::Peer, |(_, opener)| opener);
    f.write_str(match &line.next {
        Some(Next::Drop) => "block",
        // A would-be denial goes on to a chain of its own.
        Some(Next::Goto(_)) => "permit, would deny",
        _ => "permit",
    })?;
    let mut separator = ": ";
    for condition in &line.conditions {
        f.write_str(separator)?;
        separator = ", ";
        write_asked(f, condition, opener)?;
    }
    match &line.label {
        Some(label) => write!(f, " ({label})"),
        None => Ok(()),
    }
}

fn write_asked(f: &mut impl Write, condition: &Condition, opener: Opener) -> fmt::Result {
    match condition {
        Condition::Family(Family::V4) => f.write_str("IPv4"),
        Condition::Family(Family::V6) => f.write_str("IPv6"),
        Condition::Protocol(number) => {
            write!(f, "protocol {}", Value::of(Field::Protocol, (*number).into()))
        }
        Condition::InputLoopback | Condition::OutputLoopback => f.write_str("loopback"),
        Condition::Within { field, first, last } => {
            write!(f, "{} {}", name(*field, opener), Value::of(*field, *first))?;
            if first == last { Ok(()) } else { write!(f, "-{}", Value::of(*field, *last)) }
        }
        Condition::Owner(Owner::Windows { executable, identity }) => {
            let program = executable.iter().map(|path| format!("program {path}"));
            let identity = identity.iter().map(|sid| format!("identity {sid}"));
            f.write_str(&program.chain(identity).collect::<Vec<_>>().join(", "))
        }
        Condition::Foreign(text) => f.write_str(text),
        other => write_condition(f, other, Naming::Plain),
    }
}

fn name(field: Field, opener: Opener) -> &'static str {
    match (field, opener) {
        (Field::Source(_), Opener::Peer) | (Field::Destination(_), Opener::Host) => {
            "remote address"
        }
        (Field::Source(_), Opener::Host) | (Field::Destination(_), Opener::Peer) => "local address",
        (Field::SourcePort, Opener::Peer) | (Field::DestinationPort, Opener::Host) => "remote port",
        (Field::SourcePort, Opener::Host) | (Field::DestinationPort, Opener::Peer) => "local port",
        (Field::IcmpType(_), _) => "ICMP type",
        _ => "ICMP code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_shown_in_the_words_of_windows() {
        let within = |field, first, last| Condition::Within { field, first, last };
        let line = |conditions: Vec<Condition>, next| Line {
            conditions,
            counted: false,
            effect: None,
            next: Some(next),
            label: Some("a/b".into()),
        };
        let v4 = Condition::Family(Family::V4);
        let service = Owner::Windows {
            executable: Some("\\device\\x.exe".into()),
            identity: Some("S-1-5-18".into()),
        };
        for (chain, line, shown) in [
            (
                ENTRY_IN,
                line(
                    vec![
                        v4.clone(),
                        Condition::Protocol(6),
                        within(Field::Source(Family::V4), 0x0a00_0001, 0x0a00_0009),
                        within(Field::DestinationPort, 443, 443),
                    ],
                    Next::Accept,
                ),
                "ALE_AUTH_RECV_ACCEPT: permit: IPv4, protocol tcp, remote address \
                 10.0.0.1-10.0.0.9, local port 443 (a/b)",
            ),
            (
                ENTRY_OUT,
                line(
                    vec![within(Field::DestinationPort, 53, 53), Condition::Owner(service)],
                    Next::Goto("deny_out_tested".to_owned()),
                ),
                "ALE_AUTH_CONNECT: permit, would deny: remote port 53, program \\device\\x.exe, \
                 identity S-1-5-18 (a/b)",
            ),
            (
                "icmp_error_in",
                line(vec![within(Field::IcmpType(Family::V4), 3, 3)], Next::Drop),
                "INBOUND_ICMP_ERROR: block: ICMP type 3 (a/b)",
            ),
            (ENTRY_IN, line(vec![], Next::Drop), "ALE_AUTH_RECV_ACCEPT: block (a/b)"),
        ] {
            let mut text = String::new();
            write_step(&mut text, chain, &line).unwrap();
            assert_eq!(text, shown);
        }
    }
}
