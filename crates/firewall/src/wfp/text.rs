//! Conditions and plans as text: for people, for snapshots, and as input for keys and weights.

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr};

use xshield_policy::Verdict;

use super::model::{FilterCondition, MatchType, Value};
use super::names::{FilterField, Layer};
use super::plan::Plan;
use super::program::AppId;

impl Display for FilterCondition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = match &self.field {
            FilterField::AppId => "program",
            FilterField::UserId => "identity",
            FilterField::LocalAddress => "local address",
            FilterField::RemoteAddress => "remote address",
            FilterField::Protocol => "protocol",
            FilterField::LocalPort => "local port",
            FilterField::RemotePort => "remote port",
            FilterField::Flags => "flags",
            FilterField::Other(name) => name,
        };
        let relation = match self.match_type {
            MatchType::Equal | MatchType::Range => "",
            MatchType::NotEqual => "not ",
            MatchType::Greater => "> ",
            MatchType::Less => "< ",
            MatchType::GreaterOrEqual => ">= ",
            MatchType::LessOrEqual => "<= ",
            MatchType::FlagsAllSet => "all of ",
            MatchType::FlagsAnySet => "any of ",
            MatchType::FlagsNoneSet => "none of ",
            MatchType::EqualCaseInsensitive => "in any case ",
            MatchType::Prefix => "begins with ",
            MatchType::NotPrefix => "does not begin with ",
        };
        let is_address =
            matches!(self.field, FilterField::LocalAddress | FilterField::RemoteAddress);
        write!(f, "{name} {relation}{}", Shown { value: &self.value, is_address })
    }
}

struct Shown<'a> {
    value: &'a Value,
    is_address: bool,
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_address = self.is_address;
        match self.value {
            Value::Empty => f.write_str("empty"),
            Value::U8(number) => number.fmt(f),
            Value::U16(number) => number.fmt(f),
            Value::U32(number) if is_address => Ipv4Addr::from(*number).fmt(f),
            Value::U32(number) => number.fmt(f),
            Value::U64(number) => number.fmt(f),
            Value::V6(address) => Ipv6Addr::from(*address).fmt(f),
            Value::Range(ends) => {
                let [first, last] = [&ends.0, &ends.1].map(|value| Shown { value, is_address });
                write!(f, "{first}-{last}")
            }
            Value::V4Mask { address, mask } => {
                write!(f, "{}/{}", Ipv4Addr::from(*address), Ipv4Addr::from(*mask))
            }
            Value::V6Mask { address, length } => {
                write!(f, "{}/{length}", Ipv6Addr::from(*address))
            }
            Value::Blob(bytes) => match AppId::from_blob(bytes) {
                Ok(path) => path.fmt(f),
                Err(_) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            },
            Value::Sid(text) | Value::SecurityDescriptor(text) => f.write_str(text),
            Value::Other(kind) => write!(f, "({kind})"),
        }
    }
}

/// The filters by layer and in their order of evaluation, without keys and weights.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut layer: Option<&Layer> = None;
        for filter in &self.filters {
            if layer != Some(&filter.layer) {
                writeln!(f, "{}", filter.layer)?;
                layer = Some(&filter.layer);
            }
            let verdict = match filter.verdict {
                Verdict::Allow => "permit",
                Verdict::WouldDeny => "permit, would deny",
                Verdict::Deny => "block",
            };
            let conditions: Vec<String> =
                filter.conditions.iter().map(ToString::to_string).collect();
            let conditions = match &conditions[..] {
                [] => "everything".to_owned(),
                all => all.join(", "),
            };
            writeln!(f, "  {:12} {verdict}: {conditions} ({})", filter.class.name(), filter.label)?;
        }
        for omission in &self.omissions {
            writeln!(f, "left out: {omission}")?;
        }
        for rule in &self.unenforceable {
            writeln!(f, "left out: rule {}: {}", rule.rule, rule.reason)?;
        }
        Ok(())
    }
}
