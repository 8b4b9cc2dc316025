//! Criteria: expressions that select the assets of a segment, e.g. `environment = 'prod' and role in
//! ('web','app')`.
//!
//! ```text
//! expression = term { "or" term }
//! term       = factor { "and" factor }
//! factor     = "not" factor | "(" expression ")" | comparison
//! comparison = field ( "=" | "!=" ) value
//!            | field [ "not" ] "in" "(" value { "," value } ")"
//! field      = a tag key, or asset.name, asset.id, asset.os, asset.source, asset.address
//! value      = text in single or double quotes
//! ```
//!
//! Comparison is exact and case-sensitive; keywords are not. A missing tag equals no value, so `!=` and `not
//! in` hold for it. `asset.address` compares with addresses and prefixes and holds when any address of the
//! asset is inside.

mod parse;

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::inventory::{Asset, Source};
use crate::names::TagKey;

pub use parse::CriteriaError;

/// A parsed expression with its original text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Criteria {
    text: String,
    expression: Expression,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Or(Vec<Expression>),
    And(Vec<Expression>),
    Not(Box<Expression>),
    OneOf(Test),
}

/// A field, and the values of which one must match.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Tag(TagKey, Vec<String>),
    Name(Vec<String>),
    Id(Vec<String>),
    Os(Vec<String>),
    Source(Vec<Source>),
    Address(Vec<IpNet>),
}

impl Criteria {
    /// Whether the asset matches.
    #[must_use]
    pub fn matches(&self, asset: &Asset) -> bool {
        self.expression.matches(asset)
    }

    /// Whether the expression names an asset, whether or not it matches it.
    #[must_use]
    pub fn names_asset(&self, name: &str) -> bool {
        self.expression.names_asset(name)
    }

    /// The networks with which addresses are compared. Addresses that are in the same networks are
    /// equivalent.
    pub fn networks(&self) -> impl Iterator<Item = &IpNet> {
        let mut found = Vec::new();
        self.expression.networks(&mut found);
        found.into_iter()
    }
}

impl Expression {
    fn matches(&self, asset: &Asset) -> bool {
        match self {
            Self::Or(any) => any.iter().any(|expression| expression.matches(asset)),
            Self::And(all) => all.iter().all(|expression| expression.matches(asset)),
            Self::Not(expression) => !expression.matches(asset),
            Self::OneOf(test) => test.holds(asset),
        }
    }

    fn names_asset(&self, name: &str) -> bool {
        match self {
            Self::Or(parts) | Self::And(parts) => parts.iter().any(|part| part.names_asset(name)),
            Self::Not(expression) => expression.names_asset(name),
            Self::OneOf(Test::Name(values)) => values.iter().any(|value| value == name),
            Self::OneOf(_) => false,
        }
    }

    fn networks<'a>(&'a self, found: &mut Vec<&'a IpNet>) {
        match self {
            Self::Or(parts) | Self::And(parts) => {
                parts.iter().for_each(|part| part.networks(found));
            }
            Self::Not(expression) => expression.networks(found),
            Self::OneOf(Test::Address(nets)) => found.extend(nets),
            Self::OneOf(_) => {}
        }
    }
}

impl Test {
    fn holds(&self, asset: &Asset) -> bool {
        let among = |values: &[String], value: &str| values.iter().any(|wanted| wanted == value);
        match self {
            Self::Tag(key, values) => {
                asset.tags.get(key).is_some_and(|value| among(values, value.as_str()))
            }
            Self::Name(values) => among(values, asset.name.as_str()),
            Self::Id(values) => among(values, asset.id.as_str()),
            Self::Os(values) => among(values, &asset.os),
            Self::Source(sources) => sources.contains(&asset.source),
            Self::Address(nets) => {
                asset.addresses.iter().any(|address| nets.iter().any(|net| net.contains(address)))
            }
        }
    }
}

impl FromStr for Criteria {
    type Err = CriteriaError;

    fn from_str(text: &str) -> Result<Self, CriteriaError> {
        let expression = parse::expression(text)?;
        Ok(Self { text: text.to_owned(), expression })
    }
}

impl TryFrom<String> for Criteria {
    type Error = CriteriaError;

    fn try_from(text: String) -> Result<Self, CriteriaError> {
        text.parse()
    }
}

impl From<Criteria> for String {
    fn from(criteria: Criteria) -> String {
        criteria.text
    }
}

impl fmt::Display for Criteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset() -> Asset {
        let tag =
            |key: &str, value: &str| (key.parse().unwrap(), value.to_owned().try_into().unwrap());
        Asset {
            id: "a1".parse().unwrap(),
            name: "web-1".parse().unwrap(),
            tags: [tag("environment", "prod"), tag("role", "web"), tag("owner", "o'neil")].into(),
            addresses: vec!["10.1.2.3".parse().unwrap(), "2001:db8::3".parse().unwrap()],
            os: "debian 12".to_owned(),
            source: Source::Spark,
        }
    }

    #[test]
    fn expressions_match_or_do_not_match() {
        for (text, expected) in [
            ("environment = 'prod'", true),
            ("environment = 'Prod'", false),
            ("environment != 'prod'", false),
            ("location = 'oslo'", false),
            ("location != 'oslo'", true),
            ("role in ('app', 'web')", true),
            ("role not in ('app', 'web')", false),
            ("location not in ('oslo')", true),
            ("not role = 'app'", true),
            ("not not role = 'app'", false),
            ("role = 'app' or role = 'web' and environment = 'dev'", false),
            ("(role = 'app' or role = 'web') and environment = 'prod'", true),
            ("ROLE = 'web'", false),
            ("role = 'web' AND NOT environment IN ('dev')", true),
            ("owner = \"o'neil\"", true),
            ("asset.name = 'web-1' and asset.id = 'a1'", true),
            ("asset.os = 'debian 12'", true),
            ("asset.source = 'spark'", true),
            ("asset.source != 'spark'", false),
            ("asset.address = '10.0.0.0/8'", true),
            ("asset.address in ('192.168.0.0/16', '2001:db8::/32')", true),
            ("asset.address = '10.1.2.4'", false),
        ] {
            let criteria: Criteria = text.parse().unwrap();
            assert_eq!(criteria.matches(&asset()), expected, "{text}");
            assert_eq!(criteria.to_string(), text);
        }
    }

    #[test]
    fn referenced_networks_are_found_at_any_depth() {
        let text = "role = 'a' or not (asset.address = '10.0.0.0/8' and asset.os = 'x') and \
                    asset.address in ('2001:db8::/32', '10.1.0.1')";
        let criteria: Criteria = text.parse().unwrap();
        let found: Vec<_> = criteria.networks().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.0/8", "2001:db8::/32", "10.1.0.1/32"]);
    }

    #[test]
    fn refusals_name_the_column() {
        let deep = format!("{}role = 'x'{}", "(".repeat(100), ")".repeat(100));
        for (text, expected) in [
            ("", "column 1: expected a field name, 'not' or '(', found the end"),
            ("role", "column 5: expected '=', '!=', 'in' or 'not in', found the end"),
            ("role = web", "column 8: expected a value in quotes, found \"web\""),
            ("role = 'web", "column 8: the quote is never closed"),
            ("role in ()", "column 10: expected a value in quotes, found \")\""),
            ("role in ('a' 'b')", "column 14: expected ',' or ')', found \"'b'\""),
            ("role = 'a' role = 'b'", "column 12: expected 'and', 'or' or the end, found \"role\""),
            ("(role = 'a'", "column 12: expected ')', found the end"),
            ("role ~ 'a'", "column 6: \"~\" is not known here; did you mean '='"),
            ("role == 'a'", "column 6: \"==\" is not known here; did you mean '='?"),
            ("a = 'b' && c = 'd'", "column 9: \"&&\" is not known here; did you mean 'and'?"),
            ("!role = 'a'", "column 1: '!' is not known here; did you mean 'not', or '!='?"),
            ("asset.colour = 'red'", "column 1: there is no asset field \"asset.colour\""),
            ("asset.source = 'x'", "column 16: \"x\" is not a source"),
            ("asset.address = 'x'", "column 17: \"x\" is not an address or prefix"),
            (deep.as_str(), "nested deeper than 64"),
        ] {
            let error = text.parse::<Criteria>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "[a-z.'\"()=!, ]{0,60}|\\PC{0,40}") {
            let _ = text.parse::<Criteria>();
        }
    }
}
