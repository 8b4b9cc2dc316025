//! Options with the values of an API enum: the values come from the type, only their help texts are here.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer as _, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

/// Parses the values of an enum of the API. `help` describes each; a value without help is not offered.
pub(crate) fn words_of<T>(help: fn(&T) -> Option<&'static str>) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    let offered = words::<T>().iter().filter_map(|word| {
        let value = read::<T>(word).ok()?;
        Some(PossibleValue::new(*word).help(help(&value)?))
    });
    PossibleValuesParser::new(offered).try_map(|word: String| read::<T>(&word))
}

fn read<T: DeserializeOwned>(word: &str) -> Result<T, Error> {
    let reader: StrDeserializer<'_, Error> = word.into_deserializer();
    T::deserialize(reader)
}

/// The values of an enum, from its `Deserialize`.
fn words<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Words<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Words<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("only enums have words"))
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            *self.0 = variants;
            Err(Error::custom("the words are known"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }

    let mut found: &'static [&'static str] = &[];
    // It always ends in an error; only the values found before matter.
    drop(T::deserialize(Words(&mut found)));
    found
}

/// Help for the directions of flows.
pub(crate) fn direction(direction: &xshield_policy::Direction) -> Option<&'static str> {
    use xshield_policy::Direction;
    Some(match direction {
        Direction::Inbound => "Opened by a peer",
        Direction::Outbound => "Opened by the asset",
    })
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum State {
        GivenUp,
        Waiting,
        Hidden,
    }

    fn help(state: &State) -> Option<&'static str> {
        match state {
            State::GivenUp => Some("No longer tried"),
            State::Waiting => Some("Still to be sent"),
            State::Hidden => None,
        }
    }

    #[test]
    fn choices_match_the_type() {
        let command = Command::new("x").arg(Arg::new("state").value_parser(words_of(help)));
        let parse = |word: &str| {
            let found = command.clone().try_get_matches_from(["x", word]);
            found.map(|found| found.get_one::<State>("state").cloned())
        };
        assert_eq!(parse("given-up").unwrap(), Some(State::GivenUp));
        assert_eq!(parse("waiting").unwrap(), Some(State::Waiting));
        for word in ["hidden", "GivenUp", ""] {
            let refused = parse(word).unwrap_err().to_string();
            assert!(refused.contains("given-up, waiting"), "{word}: {refused}");
        }
    }
}
