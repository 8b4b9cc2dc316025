//! Options with the values of an API enum: the values come from the type, only their help texts are here.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use xshield_api::names::variants;
use xshield_threat::Confidence;

/// Parses the values of an enum of the API. `help` describes each; a value without help is not offered.
pub(crate) fn words_of<T>(help: fn(&T) -> Option<&'static str>) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    let offered = variants::<T>().iter().filter_map(|word| {
        let value = read::<T>(word).ok()?;
        Some(PossibleValue::new(*word).help(help(&value)?))
    });
    PossibleValuesParser::new(offered).try_map(|word: String| read::<T>(&word))
}

fn read<T: DeserializeOwned>(word: &str) -> Result<T, Error> {
    let reader: StrDeserializer<'_, Error> = word.into_deserializer();
    T::deserialize(reader)
}

/// Help for the directions of flows.
pub(crate) fn direction(direction: &xshield_policy::Direction) -> Option<&'static str> {
    use xshield_policy::Direction;
    Some(match direction {
        Direction::Inbound => "Opened by a peer",
        Direction::Outbound => "Opened by the asset",
    })
}

/// Parses a confidence in percent.
pub(crate) fn confidence(text: &str) -> Result<Confidence, String> {
    let percent = text.parse().ok().and_then(Confidence::new);
    percent.ok_or_else(|| format!("{text:?} is not a confidence: expected 0 to 100 (percent)"))
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
