//! Command line options of a feed, and the settings they become.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use url::Url;
use xshield_api::threat_feeds::{
    Allow, Exchange, FeedSettings, Preset, PresetKey, PresetSource, Source, Switch, UrlSource,
};
use xshield_threat::Confidence;
use xshield_threat::feed::{Fields, Format, Levels, Port};
use xshield_threat::guard::Empty;

use crate::choice::{confidence, words_of};
use crate::error::CliError;
use crate::session::failed;
use crate::times::Span;

/// Settings of a feed; what is left out keeps its default or current value.
#[derive(Debug, Args)]
pub(super) struct FeedOptions {
    /// Its URL, e.g. https://lists.example/bad.txt; {key} stands for the secret.
    #[arg(long, conflicts_with = "file")]
    url: Option<Url>,
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
    #[arg(long, default_value = "refused", value_parser = words_of(port))]
    port: Port,
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
    proxy: Option<Url>,
    /// What is otherwise refused; may be repeated.
    #[arg(long, value_name = "WHAT", value_parser = words_of(allow))]
    allow: Vec<Allow>,
    /// How often it is read.
    #[arg(long, value_name = "SPAN")]
    every: Option<Span>,
    /// The confidence of entries without one, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = confidence)]
    confidence: Option<Confidence>,
    /// Entries below this confidence are omitted, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = confidence)]
    least_confidence: Option<Confidence>,
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
    #[arg(long, value_parser = words_of(empty))]
    empty: Option<Empty>,
    /// Whether it is read and takes effect.
    #[arg(long, value_parser = words_of(switch))]
    state: Option<Switch>,
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

/// What each choice about ports allows in csv.
fn port(port: &Port) -> Option<&'static str> {
    Some(match port {
        Port::Refused => "Nothing",
        Port::LeftOut => "A port, which is ignored",
        Port::InUrl => "The address is the host of a URL",
    })
}

/// What each exception allows.
fn allow(allow: &Allow) -> Option<&'static str> {
    Some(match allow {
        Allow::Http => "Plain HTTP",
        Allow::Private => "Private and loopback addresses",
    })
}

/// What each choice about an empty list means.
fn empty(empty: &Empty) -> Option<&'static str> {
    Some(match empty {
        Empty::Refused => "Not allowed",
        Empty::Allowed => "Allowed",
    })
}

/// What each state of a feed means.
fn switch(state: &Switch) -> Option<&'static str> {
    Some(match state {
        Switch::On => "It is read, and its entries take effect",
        Switch::Off => "It is not read, and its entries have no effect",
    })
}

/// What the options are applied to.
#[derive(Debug)]
pub(super) enum Base {
    /// The defaults.
    Nothing,
    /// A well-known feed.
    Preset(Box<Preset>),
    /// The current settings of the feed.
    Current(Box<FeedSettings>),
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

    /// The settings with these options applied.
    pub(super) fn over(self, base: Base) -> Result<FeedSettings, CliError> {
        let source = self.source(&base)?;
        let mut settings = match base {
            Base::Nothing => FeedSettings::new(source, Format::Plain { levels: self.levels()? }),
            Base::Preset(preset) => FeedSettings {
                exchange: exchange(&preset),
                confidence: preset.confidence,
                ..FeedSettings::new(source, preset.format)
            },
            Base::Current(current) => FeedSettings { source, ..*current },
        };
        if let Some(name) = self.format {
            settings.format = self.format(name)?;
            settings.exchange = match name {
                FormatName::Taxii => Exchange::Taxii,
                FormatName::Crowdsec if self.file.is_none() => Exchange::Crowdsec,
                FormatName::MispFeed if self.file.is_none() => Exchange::Misp,
                _ => Exchange::Whole,
            };
        }
        set(&mut settings.every, self.every.map(Span::at_most_seconds));
        set(&mut settings.within, self.within.map(Span::at_most_seconds));
        set(&mut settings.confidence, self.confidence);
        set(&mut settings.least_confidence, self.least_confidence);
        set(&mut settings.max_bytes, self.max_bytes);
        set(&mut settings.max_unpacked, self.max_unpacked);
        set(&mut settings.max_entries, self.max_entries);
        set(&mut settings.growth_percent, self.growth_limit);
        set(&mut settings.shrink_percent, self.shrink_limit);
        set(&mut settings.empty, self.empty);
        set(&mut settings.state, self.state);
        Ok(settings)
    }

    fn source(&self, base: &Base) -> Result<Source, CliError> {
        if let Some(path) = &self.file {
            return Ok(Source::File(path.clone()));
        }
        let mut source = match (self.url.clone(), base) {
            (given, Base::Preset(preset)) => from_preset(preset, given)?,
            (Some(url), Base::Current(current)) => match &current.source {
                Source::Url(known) => UrlSource { url, ..(**known).clone() },
                Source::File(_) => UrlSource::new(url),
            },
            (Some(url), Base::Nothing) => UrlSource::new(url),
            (None, Base::Current(current)) => match &current.source {
                Source::Url(known) => (**known).clone(),
                file @ Source::File(_) => return Ok(file.clone()),
            },
            (None, Base::Nothing) => {
                return Err(CliError::input("give --url, --file or --preset"));
            }
        };
        if let Some(header) = &self.header {
            source.header = Some(header.clone());
        }
        if let Some(path) = &self.ca {
            let pem = std::fs::read_to_string(path).map_err(failed("read", path))?;
            source.ca = Some(pem);
        }
        if let Some(proxy) = &self.proxy {
            source.proxy = Some(proxy.clone());
        }
        if !self.allow.is_empty() {
            source.allow.clone_from(&self.allow);
        }
        Ok(Source::Url(Box::new(source)))
    }

    fn fields(&self) -> Result<Fields, CliError> {
        let address = self
            .field
            .clone()
            .ok_or_else(|| CliError::input("give --field: the column or field with the address"))?;
        let (confidence, valid_until) = (self.confidence_field.clone(), self.until_field.clone());
        Ok(Fields { address, confidence, valid_until })
    }

    fn format(&self, name: FormatName) -> Result<Format, CliError> {
        Ok(match name {
            FormatName::Plain => Format::Plain { levels: self.levels()? },
            FormatName::Csv => {
                Format::Csv { separator: self.separator, fields: self.fields()?, port: self.port }
            }
            FormatName::JsonLines => Format::JsonLines { fields: self.fields()? },
            FormatName::JsonArray => Format::JsonArray {
                path: self
                    .path
                    .iter()
                    .flat_map(|path| path.split('.'))
                    .map(str::to_owned)
                    .collect(),
                fields: match &self.field {
                    Some(_) => self.fields()?,
                    // A list of texts has no fields.
                    None => Fields { address: String::new(), confidence: None, valid_until: None },
                },
            },
            FormatName::Stix | FormatName::Taxii => Format::Stix,
            FormatName::Misp | FormatName::MispFeed => Format::Misp,
            FormatName::Crowdsec => Format::CrowdSec,
        })
    }

    fn levels(&self) -> Result<Option<Levels>, CliError> {
        let Some(text) = &self.levels else { return Ok(None) };
        let step = |step: &str| {
            let (count, percent) = step.split_once('=')?;
            Some((count.trim().parse().ok()?, Confidence::new(percent.trim().parse().ok()?)?))
        };
        let steps: Option<Vec<_>> = text.split(',').map(step).collect();
        let refuse = || {
            CliError::input(format!(
                "--levels {text:?}: expected steps of count=percent, e.g. 1=30,3=60,8=100"
            ))
        };
        steps.map(|steps| Some(Levels(steps))).ok_or_else(refuse)
    }
}

/// The source of a well-known feed; one's own server is at the given URL.
fn from_preset(preset: &Preset, given: Option<Url>) -> Result<UrlSource, CliError> {
    let url = match (given, &preset.source) {
        (Some(url), _) => url,
        (None, PresetSource::Url(url)) => url.parse().map_err(|error| {
            CliError::input(format!("the URL of the preset {}, {url}: {error}", preset.id))
        })?,
        (None, PresetSource::Own(like)) => {
            return Err(CliError::input(format!(
                "give --url: the preset {} is for a server of your own, e.g. {like}",
                preset.id
            )));
        }
    };
    let header = match &preset.key {
        PresetKey::Header(name) => Some(name.clone()),
        PresetKey::None | PresetKey::InUrl => None,
    };
    Ok(UrlSource { header, ..UrlSource::new(url) })
}

/// Changes a setting, if it is given.
fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *setting = value;
    }
}

/// The protocol of a well-known feed.
fn exchange(preset: &Preset) -> Exchange {
    match preset.id.as_str() {
        "taxii" => Exchange::Taxii,
        "crowdsec" => Exchange::Crowdsec,
        "misp-feed" => Exchange::Misp,
        _ => Exchange::Whole,
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
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: FeedOptions,
    }

    fn settings(line: &str, base: Base) -> Result<FeedSettings, CliError> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().options.over(base)
    }

    #[test]
    fn options_become_settings() {
        let none = json!({ "address": "ip", "confidence": null, "valid_until": null });
        for (line, changes) in [
            ("--file /a", json!({"source": {"file": "/a"}, "format": {"plain": {"levels": null}}})),
            (
                "--url https://a/ --format taxii --every 1h",
                json!({"source": url("https://a/"), "format": "stix", "exchange": "taxii",
                       "every": 3600}),
            ),
            (
                "--url https://a/ --format json-array --path data.x --field ip --allow http",
                json!({"source": {"url": {"url": "https://a/", "header": null, "ca": null,
                                          "proxy": null, "allow": ["http"]}},
                       "format": {"json-array": {"path": ["data", "x"], "fields": none}}}),
            ),
            (
                "--url https://a/ --format misp-feed",
                json!({"source": url("https://a/"), "format": "misp", "exchange": "misp"}),
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
            // A separator that shells don't turn into a tab, and columns without names.
            (
                r"--file /a --format csv --separator \t --field @2 --confidence-field @3 --empty allowed",
                json!({
                    "source": {"file": "/a"}, "empty": "allowed",
                    "format": {"csv": {"separator": "\t", "port": "refused", "fields":
                        {"address": "@2", "confidence": "@3", "valid_until": null}}},
                }),
            ),
        ] {
            // What the platform takes when a setting is left out.
            let mut expected: FeedSettings = serde_json::from_value(changes).unwrap();
            assert_eq!(settings(line, Base::Nothing).unwrap(), expected, "{line}");
            expected.every = 60;
            let again = settings(line, Base::Current(Box::new(expected.clone()))).unwrap();
            let every = if line.contains("--every") { 3600 } else { 60 };
            assert_eq!(again.every, every, "{line}");
            assert_eq!(again.source, expected.source, "{line}");
        }
        for wrong in [
            "--separator=ab",
            "--separator=",
            r"--separator=\n",
            "--separator=\\t\\t",
            "--url=a",
            "--proxy=b",
            "--confidence=101",
            "--port=some",
            "--allow=ftp",
        ] {
            assert!(Line::try_parse_from(["x", wrong]).is_err(), "{wrong}");
        }
        for line in [
            "--every 1h",
            "--url https://a/ --format csv",
            "--file /a --levels 1",
            "--file /a --levels 1=101",
        ] {
            assert!(settings(line, Base::Nothing).is_err(), "{line}");
        }
    }

    fn url(url: &str) -> serde_json::Value {
        json!({"url": {"url": url, "header": null, "ca": null, "proxy": null, "allow": []}})
    }

    #[test]
    fn options_change_current_settings() {
        let current = |source| {
            let current = json!({"source": source, "format": "misp", "every": 60});
            Base::Current(Box::new(serde_json::from_value(current).unwrap()))
        };
        let own = || json!({"url": {"url": "https://a/", "header": "Key"}});
        let header = |settings: &FeedSettings| match &settings.source {
            Source::Url(source) => source.header.clone(),
            Source::File(_) => None,
        };
        let after = settings("--every 2h --state off", current(own())).unwrap();
        assert_eq!(header(&after).as_deref(), Some("Key"));
        assert_eq!((after.every, after.state, after.format), (7200, Switch::Off, Format::Misp));
        let moved = settings("--url https://b/", current(own())).unwrap();
        assert_eq!(header(&moved).as_deref(), Some("Key"));
        let file = settings("--every 2h", current(json!({"file": "/a"}))).unwrap();
        assert_eq!(file.source, Source::File("/a".into()));
        let served = settings("--url https://b/", current(json!({"file": "/a"}))).unwrap();
        assert_eq!(
            served.source,
            Source::Url(Box::new(UrlSource::new("https://b/".parse().unwrap())))
        );
    }

    #[test]
    fn every_preset_becomes_settings() {
        for preset in xshield_threat::presets::presets().into_iter().map(Preset::from) {
            let (id, own) = (preset.id.clone(), matches!(preset.source, PresetSource::Own(_)));
            let of = |line| settings(line, Base::Preset(Box::new(preset.clone())));
            let placed = of("--url https://own.example/x").unwrap();
            assert_eq!(
                (&placed.format, placed.confidence),
                (&preset.format, preset.confidence),
                "{id}"
            );
            match of("") {
                Ok(settings) => assert_eq!(settings.format, preset.format, "{id}"),
                Err(error) => {
                    assert!(own, "{id}: {}", error.report());
                    assert!(error.report().contains("server of your own"), "{}", error.report());
                }
            }
        }
    }
}
