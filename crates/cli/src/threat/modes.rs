//! `xshield threat mode|budget|settings|status`: modes, settings and state of the list.

use std::str::FromStr;

use clap::{Args, Subcommand};
use xshield_api::impact::ExpectedImpact;
use xshield_api::open::Open;
use xshield_api::threat_modes::{
    Budget, ChangedSettings, ModeChange, ModePair, Modes, PrivateRanges, PrivateRangesImpact,
    Settings, WantedMode, Way,
};
use xshield_api::threat_status::{Feeds, Hosts, ListedAsset, Status};
use xshield_api::words::counted;
use xshield_threat::ThreatMode;
use xshield_wire::foreign::one_line;

use crate::choice::words_of;
use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::kept;
use crate::questions::{confirm, somebody_is_there};
use crate::terminal::{KeyValueList, Output, Table, cell, note};
use crate::times::Span;
use crate::words::word;

/// Modes: whether traffic with listed addresses is blocked or only recorded.
#[derive(Debug, Args)]
pub(crate) struct ModeCommand {
    #[command(subcommand)]
    action: ModeAction,
}

#[derive(Debug, Subcommand)]
enum ModeAction {
    /// Show the modes of the platform, segments and assets.
    Show,
    /// Set a mode. An asset's mode precedes that of its segments, which precedes the platform's.
    Set(SetMode),
}

#[derive(Debug, Args)]
struct SetMode {
    /// The new mode.
    #[arg(value_parser = words_of(mode))]
    mode: WantedMode,
    /// Only for flows that peers open; both directions when neither is given.
    #[arg(long, conflicts_with = "outbound")]
    inbound: bool,
    /// Only for flows that hosts open.
    #[arg(long)]
    outbound: bool,
    /// Only for this asset, by name or id.
    #[arg(long, conflicts_with = "segment")]
    asset: Option<String>,
    /// Only for the members of this segment.
    #[arg(long)]
    segment: Option<String>,
}

/// What each mode does.
fn mode(mode: &WantedMode) -> Option<&'static str> {
    Some(match mode {
        WantedMode::Block => "Drop and record",
        WantedMode::EventOnly => "Record only",
        WantedMode::Off => "Don't check",
        WantedMode::Inherit => "As set for the next wider scope",
    })
}

impl ModeCommand {
    /// Runs the command.
    pub(super) fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let path = Path::of(&["threat", "modes"]);
        let (action, answer) = match self.action {
            ModeAction::Show => ("show the modes", client.get("show the modes", &path)?),
            ModeAction::Set(set) => {
                let direction = match (set.inbound, set.outbound) {
                    (true, _) => Some(Way::Inbound),
                    (_, true) => Some(Way::Outbound),
                    _ => None,
                };
                let SetMode { mode, asset, segment, .. } = set;
                let body = ModeChange { segment, asset, mode, direction };
                ("set the mode", client.put("set the mode", &path, &body)?)
            }
        };
        output.show(&answer, |screen| Ok(modes(view(action, &answer)?).render(screen)))
    }
}

fn modes(modes: Modes) -> Table {
    let mut table = Table::new(&["SCOPE", "INBOUND", "OUTBOUND"], "");
    let mut row = |name: String, pair: ModePair| {
        let shown = |mode: Option<Open<ThreatMode>>| {
            cell(mode.map_or_else(|| "inherit".to_owned(), |mode| word(&mode)))
        };
        table.row(vec![cell(name), shown(pair.inbound), shown(pair.outbound)]);
    };
    row("platform".to_owned(), modes.platform);
    modes.segments.into_iter().for_each(|one| row(format!("segment {}", one.name), one.modes));
    modes.assets.into_iter().for_each(|one| row(format!("asset {}", one.name), one.modes));
    table
}

/// An amount of memory: `64MiB`, `1GiB`, `500000` (bytes), or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory(Option<u64>);

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        let refuse =
            || format!("{text:?} is not a size: expected auto, or e.g. 64MiB, 1GiB, 500000");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(refuse()),
        };
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes <= 1 << 50);
        bytes.map(|bytes| Self(Some(bytes))).ok_or_else(refuse)
    }
}

pub(super) fn budget(
    asset: &str,
    memory: Memory,
    client: &Client,
    output: Output,
) -> Result<(), CliError> {
    let path = Path::of_asset(asset, &["threat", "budget"]);
    let answer = client.put("set the budget", &path, &Budget { bytes: memory.0 })?;
    output.show(&answer, |_| {
        Ok(match memory.0 {
            Some(bytes) => {
                format!("The list takes at most {} of memory on {asset}.", counted(bytes, "byte"))
            }
            None => format!("The list takes at most an eighth of the memory of {asset}."),
        })
    })
}

/// Settings of the threat list.
#[derive(Debug, Args)]
pub(crate) struct SettingsCommand {
    /// Whether feeds may list private ranges (RFC 1918, 4193, 6598).
    #[arg(long, value_parser = words_of(private_ranges))]
    private_ranges: Option<PrivateRanges>,
    /// How often a host compares the list in its kernel entry by entry; 0s for never.
    #[arg(long, value_name = "SPAN")]
    verify_every: Option<Span>,
    /// Allow private ranges without asking for confirmation.
    #[arg(long)]
    yes: bool,
}

fn text(impact: &PrivateRangesImpact) -> String {
    let PrivateRangesImpact {
        entries,
        samples,
        assets,
        assets_private,
        assets_inside,
        recent_peers,
        ..
    } = impact;
    let mut text = format!(
        "Hosts with addresses in private ranges: {assets_private} of {assets}. A feed that lists such \
         a range cuts these hosts off from their neighbours, whatever the policy allows; only their own \
         addresses and the failsafe stay off the list.\n"
    );
    match entries {
        0 => text.push_str("No feed lists a private range now.\n"),
        _ => text.push_str(&format!(
            "Feeds list {} in private ranges now, such as {}. Hosts in these: {assets_inside}; \
             addresses in these with traffic in the last seven days: {recent_peers}.\n",
            counted(*entries, "entry"),
            samples.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ")
        )),
    }
    text
}

/// Asks whether private ranges may be listed, and shows the impact.
fn ask_about_private_ranges(client: &Client) -> Result<ExpectedImpact, CliError> {
    let action = "determine the impact of listing private ranges";
    let answer = client.get(action, &Path::of(&["threat", "private-ranges", "impact"]))?;
    let impact: PrivateRangesImpact = view(action, &answer)?;
    note(text(&impact).trim_end());
    if !somebody_is_there() {
        let text = "cannot ask for confirmation, since this is not a terminal; to allow listed private ranges, add --yes";
        return Err(CliError::input(text));
    }
    if confirm("May feeds list private ranges?")? {
        Ok(ExpectedImpact::Exactly(impact.digest))
    } else {
        Err(CliError::input("private ranges stay protected; nothing was changed"))
    }
}

/// What each choice about private ranges means.
fn private_ranges(ranges: &PrivateRanges) -> Option<&'static str> {
    Some(match ranges {
        PrivateRanges::Protected => "They are never blocked",
        PrivateRanges::Listed => "They can be listed like any other",
    })
}

impl SettingsCommand {
    /// Shows the settings, or changes them.
    pub(super) fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let (action, path) = ("read the settings", Path::of(&["threat", "settings"]));
        let mut answer = client.get(action, &path)?;
        if self.private_ranges.is_some() || self.verify_every.is_some() {
            let (before, unknown) = kept::read::<Settings>(action, &answer)?;
            let known = self.private_ranges.or_else(|| before.private_ranges.known().copied());
            let private_ranges = known.ok_or_else(|| {
                CliError::input(format!(
                    "the platform is newer than this version of xshield, which does not know its \
                     setting private-ranges={}; use the platform's version, or give \
                     --private-ranges, too",
                    one_line(&word(&before.private_ranges))
                ))
            })?;
            let opens = private_ranges == PrivateRanges::Listed
                && before.private_ranges.known() != Some(&PrivateRanges::Listed);
            let expected_impact = match (opens, self.yes) {
                (false, _) => ExpectedImpact::default(),
                (true, true) => ExpectedImpact::Any,
                (true, false) => ask_about_private_ranges(client)?,
            };
            let verify_every = self.verify_every.map_or(before.verify_every, Span::at_most_seconds);
            let body = ChangedSettings { private_ranges, verify_every, expected_impact };
            answer =
                client.put("change the settings", &path, &unknown.with(action, &body, &[])?)?;
        }
        output.show(&answer, |_| {
            let settings: Settings = view(action, &answer)?;
            let mut sheet = KeyValueList::new();
            sheet.line("private ranges", word(&settings.private_ranges));
            sheet.line("verify every", format!("{} s", settings.verify_every));
            Ok(sheet.render())
        })
    }
}

pub(super) fn status(client: &Client, output: Output) -> Result<(), CliError> {
    let action = "read the state of the threat list";
    let answer = client.get(action, &Path::of(&["threat", "status"]))?;
    output.show(&answer, |_| Ok(sheet(&view(action, &answer)?).render()))
}

fn sheet(status: &Status) -> KeyValueList {
    let mut sheet = KeyValueList::new();
    if let Some(revision) = status.restored {
        sheet.line("RESTORED", format!("the list of revision {revision} is in force"));
        sheet.line("", "feeds are ignored until: xshield threat resume");
    }
    if let Some(trouble) = &status.trouble {
        sheet.line("TROUBLE", trouble);
    }
    for ListedAsset { asset, address } in &status.listed_assets {
        sheet.line("LISTED", format!("{address}, which {asset} reports as its own address"));
        sheet.line("", format!("if that is right: xshield threat exception add {address}"));
    }
    match status.revision {
        Some(revision) => {
            let entries = counted(status.entries, "entry");
            let mib = status.kernel_bytes.div_ceil(1 << 20);
            let text = format!("revision {revision}, {entries}, about {mib} MiB on a host");
            sheet.line("list", text);
        }
        None if status.trouble.is_some() => {
            sheet.line("list", "not compiled since the platform started; hosts keep theirs");
        }
        None => sheet.line("list", "none yet; add a feed"),
    }
    sheet.line("private ranges", word(&status.private_ranges));
    let Feeds { all, stale, held, differs, failing } = &status.feeds;
    sheet.line("feeds", all.to_string());
    let lines =
        [("stale", stale), ("to decide", held), ("list rejected", differs), ("failing", failing)];
    for (name, feeds) in lines.into_iter().filter(|(_, feeds)| !feeds.is_empty()) {
        sheet.line(name, feeds.join(", "));
    }
    let Hosts { all, up_to_date, by_revision, by_mode, parts, failures } = &status.hosts;
    sheet.line("hosts", format!("{up_to_date} of {all} up to date"));
    for (revision, hosts) in by_revision {
        sheet.line("on hosts", format!("revision {revision}: {hosts}"));
    }
    for (mode, hosts) in by_mode {
        sheet.line("mode in/out", format!("{mode}: {hosts}"));
    }
    if !parts.is_empty() {
        sheet.line("incomplete on", parts.join(", "));
    }
    for failure in failures {
        sheet.line("failure", format!("{}: {}", failure.asset, failure.reason));
    }
    sheet
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("auto", None),
            ("0", Some(0)),
            ("500000", Some(500_000)),
            ("64MiB", Some(64 << 20)),
            ("2GiB", Some(2 << 30)),
        ] {
            assert_eq!(text.parse(), Ok(Memory(bytes)), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "64MB", "64 MiB", "99999999999999999999GiB"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_status_shows_problems_first() {
        let status = json!({
            "revision": 7, "entries": 120_000, "kernel_bytes": 10_560_000, "restored": 5,
            "trouble": null, "private_ranges": "protected",
            "listed_assets": [{"asset": "web", "address": "203.0.113.66"}],
            "feeds": {"all": 3, "stale": ["ipsum"], "held": [], "differs": ["soc"],
                      "failing": ["ipsum"]},
            "hosts": {"all": 4, "up_to_date": 3, "by_revision": {"6": 1, "7": 3},
                      "by_mode": {"block/block": 4}, "parts": ["tiny"],
                      "failures": [{"asset": "db", "reason": "no memory"}]},
        });
        insta::assert_snapshot!(sheet(&serde_json::from_value(status).unwrap()).render(), @r"
        RESTORED        the list of revision 5 is in force
                        feeds are ignored until: xshield threat resume
        LISTED          203.0.113.66, which web reports as its own address
                        if that is right: xshield threat exception add 203.0.113.66
        list            revision 7, 120,000 entries, about 11 MiB on a host
        private ranges  protected
        feeds           3
        stale           ipsum
        list rejected   soc
        failing         ipsum
        hosts           3 of 4 up to date
        on hosts        revision 6: 1
        on hosts        revision 7: 3
        mode in/out     block/block: 4
        incomplete on   tiny
        failure         db: no memory
        ");
    }
}
