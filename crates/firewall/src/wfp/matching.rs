//! Evaluates a filter's conditions for a packet.

use std::collections::BTreeMap;

use super::model::{Filter, FilterCondition, MatchType, Value};
use super::names::FilterField;
use super::program::{AppId, Sid};
use super::reading::{NegativeOnEmpty, Reading, SameField};

/// What is known about one field of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The field has no value.
    Empty,
    /// A number or an address.
    Number(u128),
    /// An executable.
    App(AppId),
    /// The identities in an access token.
    Token(Vec<Sid>),
}

/// What is known about a packet at a layer. Fields that are missing are unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PacketFacts(pub BTreeMap<FilterField, Fact>);

/// The result of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    Holds,
    /// It does not.
    Fails,
    /// The packet does not determine it.
    Unknown,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::Holds => Self::Fails,
            Self::Fails => Self::Holds,
            Self::Unknown => Self::Unknown,
        }
    }

    /// Whether all hold.
    fn all(truths: impl Iterator<Item = Self>) -> Self {
        let mut all = Self::Holds;
        for truth in truths {
            match truth {
                Self::Fails => return Self::Fails,
                Self::Unknown => all = Self::Unknown,
                Self::Holds => {}
            }
        }
        all
    }

    /// Whether at least one holds.
    fn any(truths: impl Iterator<Item = Self>) -> Self {
        Self::all(truths.map(Self::not)).not()
    }
}

/// Whether a filter matches.
#[must_use]
pub fn matches(filter: &Filter, facts: &PacketFacts, reading: &Reading) -> Truth {
    let conditions = &filter.conditions;
    let holds = |condition: &FilterCondition| holds(condition, facts, reading);
    match reading.same_field {
        SameField::All => Truth::all(conditions.iter().map(holds)),
        SameField::AnyOfNeighbours => {
            let runs = conditions.chunk_by(|one, next| one.field == next.field);
            Truth::all(runs.map(|run| Truth::any(run.iter().map(holds))))
        }
        SameField::Refused => {
            let is_twice = |(at, condition): (usize, &FilterCondition)| {
                conditions[..at].iter().any(|before| before.field == condition.field)
            };
            if conditions.iter().enumerate().any(is_twice) {
                return Truth::Fails;
            }
            Truth::all(conditions.iter().map(holds))
        }
    }
}

fn holds(condition: &FilterCondition, facts: &PacketFacts, reading: &Reading) -> Truth {
    let FilterCondition { match_type, value, .. } = condition;
    match facts.0.get(&condition.field) {
        None => Truth::Unknown,
        Some(Fact::Empty) => match (match_type, value) {
            (MatchType::Equal, Value::Empty) => Truth::Holds,
            (MatchType::NotEqual, Value::Empty) => Truth::Fails,
            (kind, _) if kind.is_negative() => {
                (reading.negative_on_empty == NegativeOnEmpty::Holds).into()
            }
            _ => Truth::Fails,
        },
        Some(Fact::Number(number)) => of_number(*match_type, value, *number),
        Some(Fact::App(app)) => of_app(*match_type, value, app),
        Some(Fact::Token(identities)) => of_token(*match_type, value, identities),
    }
}

fn of_number(match_type: MatchType, value: &Value, number: u128) -> Truth {
    let with = |compare: fn(&u128, &u128) -> bool| match value.number() {
        Some(value) => compare(&number, &value).into(),
        None => Truth::Unknown,
    };
    let equal = || match value {
        Value::Empty => Truth::Fails,
        Value::V4Mask { address, mask } => {
            (number & u128::from(*mask) == u128::from(*address & *mask)).into()
        }
        Value::V6Mask { address, length } => {
            let mask = u128::MAX.checked_shl(128 - u32::from(*length).min(128)).unwrap_or(0);
            (number & mask == address & mask).into()
        }
        value => value.number().map_or(Truth::Unknown, |value| (number == value).into()),
    };
    match match_type {
        MatchType::Equal => equal(),
        MatchType::NotEqual => equal().not(),
        MatchType::Greater => with(|number, value| number > value),
        MatchType::Less => with(|number, value| number < value),
        MatchType::GreaterOrEqual => with(|number, value| number >= value),
        MatchType::LessOrEqual => with(|number, value| number <= value),
        MatchType::FlagsAllSet => with(|number, value| number & value == *value),
        MatchType::FlagsAnySet => with(|number, value| number & value != 0),
        MatchType::FlagsNoneSet => with(|number, value| number & value == 0),
        MatchType::Range => {
            let Value::Range(ends) = value else { return Truth::Unknown };
            match (ends.0.number(), ends.1.number()) {
                (Some(first), Some(last)) => (first..=last).contains(&number).into(),
                _ => Truth::Unknown,
            }
        }
        MatchType::EqualCaseInsensitive | MatchType::Prefix | MatchType::NotPrefix => {
            Truth::Unknown
        }
    }
}

fn of_app(match_type: MatchType, value: &Value, app: &AppId) -> Truth {
    let Value::Blob(bytes) = value else { return Truth::Unknown };
    let same = *bytes == app.blob();
    match match_type {
        MatchType::Equal => same.into(),
        MatchType::NotEqual => Truth::from(same).not(),
        // Only Windows knows which letters are equal.
        MatchType::EqualCaseInsensitive if same => Truth::Holds,
        _ => Truth::Unknown,
    }
}

fn of_token(match_type: MatchType, value: &Value, identities: &[Sid]) -> Truth {
    let admitted = match value {
        Value::SecurityDescriptor(descriptor) => Sid::admitted(descriptor),
        _ => None,
    };
    let Some(admitted) = admitted else { return Truth::Unknown };
    let is_admitted = Truth::from(admitted.iter().any(|sid| identities.contains(sid)));
    match match_type {
        MatchType::Equal => is_admitted,
        MatchType::NotEqual => is_admitted.not(),
        _ => Truth::Unknown,
    }
}
