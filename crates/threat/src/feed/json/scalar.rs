//! Single values of a document.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value of an object, as far as feeds need it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::feed) enum Scalar {
    /// The key does not exist, or its value is null.
    Missing,
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// Another number.
    Fraction(f64),
    Text(String),
    /// The texts among the first elements of an array.
    Texts(Vec<String>),
    /// Anything else.
    Other,
}

/// The most texts of an array that are kept.
const TEXTS: usize = 16;

impl Scalar {
    pub(in crate::feed) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is an array that contains this text.
    pub(in crate::feed) fn has(&self, wanted: &str) -> bool {
        matches!(self, Self::Texts(texts) if texts.iter().any(|text| text == wanted))
    }

    /// True in one of its spellings.
    pub(super) fn says_yes(&self) -> bool {
        match self {
            Self::Bool(yes) => *yes,
            Self::Number(number) => *number == 1,
            Self::Text(text) => says(text) == Some(true),
            _ => false,
        }
    }

    /// False in one of its spellings.
    pub(super) fn says_no(&self) -> bool {
        match self {
            Self::Bool(yes) => !*yes,
            Self::Number(number) => *number == 0,
            Self::Text(text) => says(text) == Some(false),
            _ => false,
        }
    }
}

/// The boolean that a text represents.
pub(in crate::feed) fn says(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "True" => Some(true),
        "0" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a [`Scalar`]; objects are skipped.
pub(super) struct AnyScalar;

impl<'de> DeserializeSeed<'de> for AnyScalar {
    type Value = Scalar;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Scalar, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyScalar {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Missing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Fraction(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Fraction(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        let mut texts = Vec::new();
        while let Some(element) = seq.next_element_seed(AnyScalar)? {
            match element {
                Scalar::Text(text) if texts.len() < TEXTS => texts.push(text),
                _ => {}
            }
        }
        Ok(Scalar::Texts(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
