//! `xshield threat feed`: where malicious addresses are learned from.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use xshield_api::Timestamp;
use xshield_api::open::Open;
use xshield_api::threat_feeds::{
    Feed, FeedChange, FeedSettings, FeedStanding, NewFeed, Preset, PresetKey, PresetSource,
    ReadState, Sample, Source,
};
use xshield_api::words::counted;
use xshield_threat::FeedId;
use xshield_threat::guard::Empty;

use super::feed_options::{Base, FeedOptions};
use crate::client::{Client, NoBody, Path, view};
use crate::error::CliError;
use crate::kept;
use crate::progress::{AfterInterrupt, Shown, Waiting};
use crate::terminal::{
    KeyValueList, Output, Screen, Table, bad, cell, good, note, number, warning,
};
use crate::times::{relative, relative_or_dash};
use crate::words::{field, word};

/// Feeds: where lists of malicious addresses come from.
#[derive(Debug, Args)]
pub(crate) struct FeedCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a feed; it is read at once.
    Add {
        /// Its name: 1 to 64 of a-z 0-9 - _ .
        name: FeedId,
        /// A well-known feed, see: xshield threat feed presets.
        #[arg(long, conflicts_with_all = ["file", "format"])]
        preset: Option<String>,
        #[command(flatten)]
        options: Box<FeedOptions>,
    },
    /// Change a feed's settings; it is read at once.
    Set {
        /// The name of the feed.
        name: String,
        #[command(flatten)]
        options: Box<FeedOptions>,
    },
    /// List feeds.
    List,
    /// Show everything that is known about a feed.
    Show {
        /// The name of the feed.
        name: String,
    },
    /// Read a feed now.
    Run {
        /// The name of the feed.
        name: String,
    },
    /// Accept the new list that waits for a decision, or the one that was rejected.
    Approve {
        /// The name of the feed.
        name: String,
    },
    /// Reject the new list that waits for a decision; the one in force stays.
    Reject {
        /// The name of the feed.
        name: String,
    },
    /// Remove a feed and its entries.
    Remove {
        /// The name of the feed.
        name: String,
    },
    /// List well-known feeds, with their terms of use.
    Presets,
}

impl FeedCommand {
    /// Runs the command.
    pub(super) fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        match self.action {
            Action::Add { name, preset, options } => add(client, name, preset, *options, output),
            Action::Set { name, options } => set(client, &name, *options, output),
            Action::List => {
                let action = "list threat feeds";
                let answer = client.get(action, &path(&[]))?;
                output.show(&answer, |screen| {
                    Ok(table(view(action, &answer)?, Timestamp::now()).render(screen))
                })
            }
            Action::Show { name } => {
                let action = "show the threat feed";
                let answer = client.get(action, &path(&[&name]))?;
                show(action, &answer, output)
            }
            Action::Run { name } => {
                let action = "run the threat feed";
                finished(action, &run(client, &name)?, output)
            }
            Action::Approve { name } => {
                let action = "approve the feed's new list";
                let answer = decide(client, action, &name, "approve")?;
                let entries = view::<Feed>(action, &answer)?.entries;
                output.show(&answer, |_| {
                    Ok(format!("{name}: in force: {}.", counted(entries, "entry")))
                })
            }
            Action::Reject { name } => {
                let action = "reject the feed's new list";
                let answer = decide(client, action, &name, "reject")?;
                let entries = view::<Feed>(action, &answer)?.entries;
                output.show(&answer, |_| {
                    Ok(format!(
                        "{name}: rejected; the previous list stays ({}).",
                        counted(entries, "entry")
                    ))
                })
            }
            Action::Remove { name } => {
                let answer = client.delete("remove the threat feed", &path(&[&name]))?;
                output.show(&answer, |_| Ok(format!("Removed feed {name} and its entries.")))
            }
            Action::Presets => {
                let action = "list well-known feeds";
                let answer = client.get(action, &Path::of(&["threat", "presets"]))?;
                output.show(&answer, |_| Ok(preset_text(view(action, &answer)?)))
            }
        }
    }
}

fn path(below: &[&str]) -> Path {
    Path::of(&[&["threat", "feeds"], below].concat())
}

/// Runs a feed now, and waits until that is done.
fn run(client: &Client, name: &str) -> Result<Value, CliError> {
    let action = "run the threat feed";
    let left = AfterInterrupt::Asked { see: Some(format!("xshield threat feed show {name}")) };
    let _waiting = Waiting::begin(action, left, Shown::WhenLong);
    // The platform answers after a minute at the latest; a run may take longer.
    loop {
        let answer = client.post(action, &path(&[name, "run"]), &NoBody {})?;
        if !view::<Feed>(action, &answer)?.running {
            return Ok(answer);
        }
    }
}

fn decide(client: &Client, action: &str, name: &str, how: &str) -> Result<Value, CliError> {
    let see = format!("xshield threat feed show {name}");
    client.post_long(action, &path(&[name, how]), &NoBody {}, &see)
}

fn add(
    client: &Client,
    name: FeedId,
    preset: Option<String>,
    options: FeedOptions,
    output: Output,
) -> Result<(), CliError> {
    let base = match preset {
        None => Base::Nothing,
        Some(wanted) => {
            let action = "look up the preset";
            let all = client.get(action, &Path::of(&["threat", "presets"]))?;
            let preset = chosen(view(action, &all)?, &wanted)?;
            note(&format!("Terms of {}: {} {}", preset.title, preset.terms, preset.terms_url));
            Base::Preset(Box::new(preset))
        }
    };
    let action = "add the threat feed";
    let secret = options.secret()?;
    let body = NewFeed { name, settings: options.over(base)?, secret };
    client.post(action, &path(&[]), &body)?;
    let name = body.name.as_str();
    finished(action, &run(client, name)?, output).map_err(|error| match error {
        CliError::Input(reason) => CliError::input(format!(
            "{reason}. The feed was added nevertheless: change it with xshield threat feed set \
             {name}, or remove it with xshield threat feed remove {name}"
        )),
        other => other,
    })
}

fn chosen(presets: Vec<Open<Preset>>, wanted: &str) -> Result<Preset, CliError> {
    for preset in presets {
        match preset {
            Open::Known(preset) if preset.id == wanted => return Ok(preset),
            Open::Unknown(preset) if preset["id"] == wanted => {
                return Err(CliError::input(format!(
                    "the preset {wanted} is of a newer platform, and this version of xshield can't \
                     use it; use the platform's version"
                )));
            }
            _ => {}
        }
    }
    Err(CliError::input(format!("unknown preset {wanted:?}; see: xshield threat feed presets")))
}

fn set(client: &Client, name: &str, options: FeedOptions, output: Output) -> Result<(), CliError> {
    let action = "change the threat feed";
    let before = client.get(action, &path(&[name]))?;
    let (current, unknown) = kept::read::<FeedSettings>(action, &before["settings"])?;
    let secret = options.secret()?;
    let body = FeedChange { settings: options.over(Base::Current(Box::new(current)))?, secret };
    let body = unknown.with(action, &body, &["settings"])?;
    let answer = client.put(action, &path(&[name]), &body)?;
    output.show(&answer, |_| Ok(format!("Changed feed {name}; it is read now.")))
}

/// The result of a run; a failure or a held listing makes it an error, for scripts.
fn finished(action: &str, answer: &Value, output: Output) -> Result<(), CliError> {
    let feed: Feed = view(action, answer)?;
    if output.is_json() {
        return output.show(answer, |_| Ok(String::new()));
    }
    if let Some(failure) = &feed.failure {
        let kept = match feed.entries {
            0 => String::new(),
            entries => format!("; the previous list stays ({})", counted(entries, "entry")),
        };
        return Err(CliError::input(format!("{}: {}{kept}", feed.name, failure.reason)));
    }
    if feed.held.is_some() {
        note(&waits(&feed));
    }
    if feed.differs.is_some() {
        note(&format!(
            "{name}: its new list was rejected, so what is in force differs from the source; see: xshield threat feed show {name}",
            name = feed.name
        ));
    }
    output.show(answer, |_| {
        let rejected = match feed.read.rejected {
            0 => String::new(),
            rejected => format!(", {} rejected", counted(rejected, "line")),
        };
        Ok(format!(
            "{}: {} in force, last change: {} added, {} removed{rejected}.",
            feed.name,
            counted(feed.entries, "entry"),
            feed.added,
            feed.removed
        ))
    })
}

fn waits(feed: &Feed) -> String {
    let Some(held) = &feed.held else { return String::new() };
    format!(
        "{name}: a new list of {} waits for a decision (+{} -{}): {}\n\
         Decide with: xshield threat feed approve {name}, or reject {name}",
        counted(held.entries, "entry"),
        held.added,
        held.removed,
        held.reasons.join("; "),
        name = feed.name,
    )
}

fn table(feeds: Vec<Feed>, now: Timestamp) -> Table {
    let header =
        &["NAME", "STATE", "ENTRIES", "ADDED", "REMOVED", "REJECTED", "LAST SUCCESS", "NEXT RUN"];
    let mut table = Table::new(header, "There are no threat feeds.");
    for feed in feeds {
        let state = match feed.state.known() {
            Some(FeedStanding::Good) => good("good"),
            Some(FeedStanding::Stale | FeedStanding::Held) => bad(word(&feed.state)),
            _ => warning(word(&feed.state)),
        };
        table.row(vec![
            cell(&feed.name),
            state,
            number(feed.entries),
            number(feed.added),
            number(feed.removed),
            number(feed.read.rejected),
            cell(relative_or_dash(feed.last_success, now)),
            cell(if feed.running { "runs".to_owned() } else { relative(feed.next_run, now) }),
        ]);
    }
    table
}

fn show(action: &str, answer: &Value, output: Output) -> Result<(), CliError> {
    output.show(answer, |_: &Screen| Ok(sheet(&view(action, answer)?, Timestamp::now()).render()))
}

fn sheet(feed: &Feed, now: Timestamp) -> KeyValueList {
    let mut sheet = KeyValueList::new();
    sheet.line("name", &feed.name);
    sheet.line("state", word(&feed.state));
    match &feed.settings {
        Open::Known(settings) => settings_lines(&mut sheet, settings, feed.has_secret),
        Open::Unknown(settings) => sheet.line("settings", settings.to_string()),
    }
    sheet.line("added", format!("{} by {}", relative(feed.created_at, now), feed.created_by));
    sheet.line("last run", relative_or_dash(feed.last_run, now));
    sheet.line("last success", relative_or_dash(feed.last_success, now));
    sheet.line("next run", relative(feed.next_run, now));
    sheet.line("entries", feed.entries.to_string());
    if let Some(changed) = feed.changed_at {
        let change = format!("+{} -{}, {}", feed.added, feed.removed, relative(changed, now));
        sheet.line("last change", change);
    }
    let ReadState { bytes, rejected, skipped, samples, .. } = &feed.read;
    sheet.line(
        "read",
        format!(
            "{}, {} rejected, {skipped} skipped",
            counted(*bytes, "byte"),
            counted(*rejected, "line")
        ),
    );
    for sample in samples {
        let Sample { file, line, text, reason } = sample;
        let mut place = file.iter().cloned().collect::<Vec<_>>();
        // Messages about a file as a whole have no line.
        if *line > 0 {
            place.push(format!("line {line}: {text}"));
        }
        sheet.line("rejected", format!("{}: {reason}", place.join(", ")));
    }
    if let Some(failure) = &feed.failure {
        let when = relative(failure.at, now);
        sheet.line("failure", format!("{} ({when}, {} in a row)", failure.reason, feed.failures));
    }
    if let Some(held) = &feed.held {
        let size = counted(held.entries, "entry");
        let size = format!("{size}, +{} -{}", held.added, held.removed);
        sheet.line("waits", format!("{size}, since {}", relative(held.at, now)));
        held.reasons.iter().for_each(|reason| sheet.line("because", reason));
        sheet.line("", format!("decide with: xshield threat feed approve|reject {}", feed.name));
    }
    if let Some(differs) = &feed.differs {
        let size = counted(differs.entries, "entry");
        let size = format!("{size}, +{} -{}", differs.added, differs.removed);
        let since = relative(differs.at, now);
        sheet.line("differs", format!("from the source: {size}, rejected {since}"));
        differs.reasons.iter().for_each(|reason| sheet.line("because", reason));
        sheet
            .line("", format!("accept it nevertheless: xshield threat feed approve {}", feed.name));
    }
    sheet
}

fn settings_lines(sheet: &mut KeyValueList, settings: &FeedSettings, has_secret: bool) {
    match &settings.source {
        Source::File(path) => sheet.line("source", path.display().to_string()),
        Source::Url(source) => sheet.line("source", source.url.as_str()),
    }
    if let Source::Url(source) = &settings.source
        && let Some(header) = &source.header
    {
        let value = if has_secret { "its value is stored" } else { "without a value" };
        sheet.line("header", format!("{header}, {value}"));
    }
    sheet.line("format", json!(settings.format).to_string());
    sheet.line("every", format!("{} s", settings.every));
    if settings.empty == Empty::Allowed {
        sheet.line("empty", "allowed");
    }
    sheet.line(
        "confidence",
        format!(
            "{} % where the feed gives none; entries below {} % are omitted",
            settings.confidence.percent(),
            settings.least_confidence.percent()
        ),
    );
}

fn preset_text(presets: Vec<Open<Preset>>) -> String {
    let one = |preset: Open<Preset>| {
        let mut sheet = KeyValueList::new();
        let preset = match preset {
            Open::Known(preset) => preset,
            Open::Unknown(preset) => {
                let (id, title) = (field(&preset, "id"), field(&preset, "title"));
                sheet.line("preset", format!("{id} ({title})"));
                sheet.line("about", field(&preset, "about"));
                sheet.line("source", field(&preset, "source"));
                sheet.line("format", field(&preset, "format"));
                sheet.line(
                    "terms",
                    format!("{} {}", field(&preset, "terms"), field(&preset, "terms_url")),
                );
                return sheet.render();
            }
        };
        sheet.line("preset", format!("{} ({})", preset.id, preset.title));
        sheet.line("about", &preset.about);
        let (PresetSource::Url(place) | PresetSource::Own(place)) = &preset.source;
        sheet.line("source", place);
        match &preset.key {
            PresetKey::None => {}
            PresetKey::Header(name) => {
                sheet.line("takes a key", format!("in the header {name}"));
            }
            PresetKey::InUrl => sheet.line("takes a key", "in the URL"),
        }
        sheet.line("terms", format!("{} {}", preset.terms, preset.terms_url));
        sheet.render()
    };
    presets.into_iter().map(one).collect::<Vec<_>>().join("\n")
}
