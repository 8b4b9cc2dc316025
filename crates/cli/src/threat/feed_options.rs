//! Command line options of a feed, and the settings they become.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::session::failed;
use crate::times::Span;

/// Settings of a feed; what is left out keeps its default or current value.
#[derive(Debug, Args)]
pub(super) struct FeedOptions {
    /// Its URL, e.g. https://lists.example/bad.txt; {key} stands for the secret.
    #[arg(long, conflicts_with = "file")]
    url: Option<String>,
    /// A file or directory on the platform's own machine.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The format of its entries.
    #[arg(long)]
    format: Option<FormatName>,
    /// The column or field with the address (csv, json-lines, json-array). In csv without a line of names,
    /// a number, @1 being the first column; in JSON, a field within another as outer.inner.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// The column or field with a confidence of 0 to 100.
    #[arg(long, value_name = "NAME", requires = "field")]
    confidence_field: Option<String>,
    /// The column or field with the expiry of an entry.
    #[arg(long, value_name = "NAME", requires = "field")]
    until_field: Option<String>,
    /// The separator of csv columns: one character, or \t for a tab.
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = separator)]
    separator: char,
    /// What may follow an address in csv.
    #[arg(long, default_value = "refused")]
    port: PortName,
    /// The keys that lead to the list in a JSON document, e.g. data.items (json-array).
    #[arg(long, value_name = "KEYS")]
    path: Option<String>,
    /// What a count behind an address means, as count=confidence, e.g. 1=30,3=60,8=100 (plain).
    #[arg(long, value_name = "STEPS")]
    levels: Option<String>,
    /// The header with the credentials, e.g. Authorization.
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// A file with the header's value, or with the key in the URL.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The only authority trusted for the server (PEM); the system's when left out.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// An HTTP proxy, e.g. http://proxy.example:3128.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// What is otherwise refused; may be repeated.
    #[arg(long, value_name = "WHAT")]
    allow: Vec<AllowName>,
    /// How often it is read.
    #[arg(long, value_name = "SPAN")]
    every: Option<Span>,
    /// The confidence of entries without one, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    confidence: Option<u8>,
    /// Entries below this confidence are omitted, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    least_confidence: Option<u8>,
    /// How long a run may take.
    #[arg(long, value_name = "SPAN")]
    within: Option<Span>,
    /// Maximum size of the transfer in bytes.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Maximum size in bytes after decompression.
    #[arg(long, value_name = "BYTES")]
    max_unpacked: Option<u64>,
    /// Maximum number of entries.
    #[arg(long, value_name = "N")]
    max_entries: Option<u64>,
    /// Growth beyond which a listing waits for a decision.
    #[arg(long, value_name = "PERCENT")]
    growth_limit: Option<u64>,
    /// Shrinkage beyond which a listing waits for a decision.
    #[arg(long, value_name = "PERCENT")]
    shrink_limit: Option<u64>,
    /// Whether it may list nothing; otherwise the previous entries stay when it does.
    #[arg(long)]
    empty: Option<EmptyName>,
    /// Whether it is read and takes effect.
    #[arg(long)]
    state: Option<SwitchName>,
}

/// The format of a feed's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// One address, CIDR or range per line.
    Plain,
    /// Columns with names.
    Csv,
    /// One JSON object per line.
    JsonLines,
    /// A JSON array, at --path.
    JsonArray,
    /// A STIX 2.1 bundle.
    Stix,
    /// A TAXII 2.1 collection.
    Taxii,
    /// MISP attributes.
    Misp,
    /// A MISP feed: a manifest.json, and a document for each event.
    MispFeed,
    /// CrowdSec's decisions stream.
    Crowdsec,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PortName {
    /// Nothing.
    Refused,
    /// A port, which is ignored.
    LeftOut,
    /// The address is the host of a URL.
    InUrl,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AllowName {
    /// Plain HTTP.
    Http,
    /// Private and loopback addresses.
    Private,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EmptyName {
    /// Not allowed.
    Refused,
    /// Allowed.
    Allowed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SwitchName {
    /// On.
    On,
    /// Off.
    Off,
}

fn word(value: impl ValueEnum) -> Value {
    value.to_possible_value().map_or(Value::Null, |value| value.get_name().into())
}

impl FeedOptions {
    /// The secret, if there is one.
    pub(super) fn secret(&self) -> Result<Option<String>, CliError> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).map_err(failed("read", path))?;
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        };
        match &self.secret_file {
            Some(path) => read(path).map(Some),
            None => Ok(std::env::var("XSHIELD_FEED_SECRET").ok().filter(|text| !text.is_empty())),
        }
    }

    /// `settings` with these options applied.
    pub(super) fn over(self, settings: Value) -> Result<Value, CliError> {
        let mut settings: Map<String, Value> = match settings {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        let source = self.source(settings.get("source"))?;
        settings.insert("source".to_owned(), source);
        if let Some(name) = self.format {
            settings.insert("format".to_owned(), self.format(name)?);
            let exchange = match name {
                FormatName::Taxii => "taxii",
                FormatName::Crowdsec if self.file.is_none() => "crowdsec",
                FormatName::MispFeed if self.file.is_none() => "misp",
                _ => "whole",
            };
            settings.insert("exchange".to_owned(), exchange.into());
        }
        let given = [
            ("every", self.every.map(|span| span.seconds().into())),
            ("within", self.within.map(|span| span.seconds().into())),
            ("confidence", self.confidence.map(Value::from)),
            ("least_confidence", self.least_confidence.map(Value::from)),
            ("max_bytes", self.max_bytes.map(Value::from)),
            ("max_unpacked", self.max_unpacked.map(Value::from)),
            ("max_entries", self.max_entries.map(Value::from)),
            ("growth_percent", self.growth_limit.map(Value::from)),
            ("shrink_percent", self.shrink_limit.map(Value::from)),
            ("empty", self.empty.map(word)),
            ("state", self.state.map(word)),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                settings.insert(name.to_owned(), value);
            }
        }
        if !settings.contains_key("format") {
            settings.insert("format".to_owned(), json!({ "plain": { "levels": self.steps()? } }));
        }
        Ok(settings.into())
    }

    fn source(&self, before: Option<&Value>) -> Result<Value, CliError> {
        if let Some(path) = &self.file {
            return Ok(json!({ "file": path }));
        }
        let before = before.cloned().unwrap_or_else(|| json!({}));
        let mut source = match (&self.url, before.get("url")) {
            (Some(url), Some(Value::Object(known))) => {
                let mut known = known.clone();
                known.insert("url".to_owned(), url.as_str().into());
                known
            }
            (Some(url), _) => Map::from_iter([("url".to_owned(), url.as_str().into())]),
            (None, Some(Value::Object(known))) => known.clone(),
            (None, _) if before.get("file").is_some() => return Ok(before),
            (None, _) => return Err(CliError::input("give --url, --file or --preset")),
        };
        if let Some(header) = &self.header {
            source.insert("header".to_owned(), header.as_str().into());
        }
        if let Some(path) = &self.ca {
            let pem = std::fs::read_to_string(path).map_err(failed("read", path))?;
            source.insert("ca".to_owned(), pem.into());
        }
        if let Some(proxy) = &self.proxy {
            source.insert("proxy".to_owned(), proxy.as_str().into());
        }
        if !self.allow.is_empty() {
            let allow: Vec<Value> = self.allow.iter().copied().map(word).collect();
            source.insert("allow".to_owned(), allow.into());
        }
        Ok(json!({ "url": source }))
    }

    fn format(&self, name: FormatName) -> Result<Value, CliError> {
        let fields = || {
            let field = self.field.as_ref().ok_or_else(|| {
                CliError::input("give --field: the column or field with the address")
            })?;
            Ok::<_, CliError>(json!({
                "address": field,
                "confidence": self.confidence_field,
                "valid_until": self.until_field,
            }))
        };
        Ok(match name {
            FormatName::Plain => json!({ "plain": { "levels": self.steps()? } }),
            FormatName::Csv => json!({ "csv": {
                "separator": self.separator, "fields": fields()?, "port": word(self.port) } }),
            FormatName::JsonLines => json!({ "json-lines": { "fields": fields()? } }),
            FormatName::JsonArray => {
                let path: Vec<&str> = self.path.iter().flat_map(|path| path.split('.')).collect();
                let fields = match &self.field {
                    Some(_) => fields()?,
                    // A list of texts has no fields.
                    None => json!({ "address": "", "confidence": null, "valid_until": null }),
                };
                json!({ "json-array": { "path": path, "fields": fields } })
            }
            FormatName::Stix | FormatName::Taxii => "stix".into(),
            FormatName::Misp | FormatName::MispFeed => "misp".into(),
            FormatName::Crowdsec => "crowd-sec".into(),
        })
    }

    fn steps(&self) -> Result<Option<Vec<(u32, u8)>>, CliError> {
        let Some(text) = &self.levels else { return Ok(None) };
        let step = |step: &str| {
            let (count, percent) = step.split_once('=')?;
            Some((count.trim().parse().ok()?, percent.trim().parse().ok()?))
        };
        let steps: Option<Vec<_>> = text.split(',').map(step).collect();
        let refuse =
            || CliError::input(format!("{text:?}: expected steps such as 1=30,3=60,8=100"));
        steps.map(Some).ok_or_else(refuse)
    }
}

/// One character; a tab, which is hard to type in shells, also as `\t`.
fn separator(text: &str) -> Result<char, String> {
    let mut characters = text.chars();
    match (text, characters.next(), characters.next()) {
        ("\\t", ..) => Ok('\t'),
        (_, Some(character), None) => Ok(character),
        _ => Err("expected one character, or \\t for a tab".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: FeedOptions,
    }

    fn settings(line: &str, before: Value) -> Result<Value, CliError> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().options.over(before)
    }

    #[test]
    fn options_become_settings() {
        let none = json!({ "address": "ip", "confidence": null, "valid_until": null });
        for (line, expected) in [
            ("--file /a", json!({"source": {"file": "/a"}, "format": {"plain": {"levels": null}}})),
            (
                "--url https://a/ --format taxii --every 1h",
                json!({"source": {"url": {"url": "https://a/"}}, "format": "stix",
                       "exchange": "taxii", "every": 3600}),
            ),
            (
                "--url https://a/ --format json-array --path data.x --field ip --allow http",
                json!({"source": {"url": {"url": "https://a/", "allow": ["http"]}},
                       "exchange": "whole",
                       "format": {"json-array": {"path": ["data", "x"], "fields": none}}}),
            ),
            (
                "--url https://a/ --format misp-feed",
                json!({"source": {"url": {"url": "https://a/"}}, "format": "misp",
                       "exchange": "misp"}),
            ),
            (
                "--file /a --format misp-feed",
                json!({"source": {"file": "/a"}, "format": "misp", "exchange": "whole"}),
            ),
            (
                "--file /a --levels 1=30,3=60",
                json!({"source": {"file": "/a"},
                       "format": {"plain": {"levels": [[1, 30], [3, 60]]}}}),
            ),
        ] {
            assert_eq!(settings(line, Value::Null).unwrap(), expected, "{line}");
        }
        // A separator that shells don't turn into a tab, and columns without names.
        let tabs = settings(
            r"--file /a --format csv --separator \t --field @2 --confidence-field @3 --empty allowed",
            Value::Null,
        );
        assert_eq!(
            tabs.unwrap(),
            json!({
                "source": {"file": "/a"}, "exchange": "whole", "empty": "allowed",
                "format": {"csv": {"separator": "\t", "port": "refused", "fields":
                    {"address": "@2", "confidence": "@3", "valid_until": null}}},
            })
        );
        for wrong in ["--separator=ab", "--separator=", r"--separator=\n", "--separator=\\t\\t"] {
            assert!(Line::try_parse_from(["x", wrong]).is_err(), "{wrong}");
        }
        let before = json!({"source": {"url": {"url": "https://a/", "header": "Key"}},
                            "format": "misp", "every": 60});
        let after = settings("--every 2h --state off", before).unwrap();
        assert_eq!(after["source"]["url"]["header"], "Key");
        assert_eq!((&after["every"], &after["state"]), (&json!(7200), &json!("off")));
        for line in ["--every 1h", "--url https://a/ --format csv", "--file /a --levels 1"] {
            assert!(settings(line, Value::Null).is_err(), "{line}");
        }
    }
}
