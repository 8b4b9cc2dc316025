//! The limits of messages. Both ends apply the same function: a host before it sends, the platform when it
//! receives. What exceeds a limit is omitted and reported; the rest is accepted.

use std::collections::BTreeSet;
use std::fmt;

use crate::message::{CheckIn, Problem, Report, ReportBody, Status};
use crate::telemetry::{HostTelemetry, SoftwareContents};

/// Addresses of one host.
pub const ADDRESSES: usize = 8_192;
/// Problems in one check-in.
pub const PROBLEMS: usize = 500;
/// Routes to the platform.
pub const ROUTES: usize = 64;
/// A text for people, in bytes of JSON.
pub const TEXT: usize = 4_000;
/// A keyword, a version or a name, in bytes of JSON.
pub const WORD: usize = 512;
/// All problems of one check-in, in bytes of JSON.
pub const PROBLEM_BYTES: usize = 512 << 10;
/// The evidence of a ruleset or an order, in bytes.
pub const EVIDENCE: usize = 16 << 10;
/// A whole check-in, in bytes. If the other limits are met, this one is, too.
pub const CHECK_IN_BYTES: usize = 2 << 20;
/// Items of one list of a report.
pub const ITEMS: usize = 100_000;
/// File systems or interfaces of one host.
pub const PARTS: usize = 512;

/// The code of the problem that reports omissions.
pub const LEFT_OUT: &str = "left-out";

/// The name of a cut of problems.
pub const PROBLEMS_CUT: &str = "problems";

/// A list that was shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The name of its items, in the plural.
    pub what: &'static str,
    /// The number of items.
    pub had: usize,
    /// The number of items kept.
    pub kept: usize,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, had, kept } = self;
        write!(
            f,
            "of {had} {what} only {kept} are reported to the platform: the message has no \
             room for more"
        )
    }
}

impl From<Cut> for Problem {
    fn from(cut: Cut) -> Self {
        Self { code: LEFT_OUT.to_owned(), text: cut.to_string() }
    }
}

/// Shortens a list.
fn list<T>(what: &'static str, items: &mut Vec<T>, most: usize) -> Option<Cut> {
    let had = items.len();
    items.truncate(most);
    (had > most).then_some(Cut { what, had, kept: most })
}

/// Shortens a text to this many bytes of JSON, with a mark if it was longer.
pub fn text(text: &mut String, most: usize) {
    const MARK: &str = "…";
    let (mut used, mut fits, mut whole) = (0, 0, true);
    for (at, c) in text.char_indices() {
        used += json_bytes(c);
        if used + MARK.len() <= most {
            fits = at + c.len_utf8();
        }
        if used > most {
            whole = false;
            break;
        }
    }
    if !whole {
        text.truncate(fits);
        text.push_str(MARK);
    }
}

fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        c => c.len_utf8(),
    }
}

fn json_bytes_of(text: &str) -> usize {
    text.chars().map(json_bytes).sum()
}

impl CheckIn {
    /// Shortens the check-in so that it is accepted: items beyond a limit are omitted, and a problem reports
    /// that. Applying it again has no effect.
    pub fn fit(&mut self) -> Vec<Cut> {
        self.host.addresses.sort_unstable();
        self.host.addresses.dedup();
        let cuts = [
            list("addresses", &mut self.host.addresses, ADDRESSES),
            list("routes to the platform", &mut self.routes, ROUTES),
        ];
        self.fit_texts();
        if let Some(held) = &mut self.held {
            for evidence in [&mut held.ruleset, &mut held.threat] {
                evidence.take_if(|envelope| envelope.to_bytes().len() > EVIDENCE);
            }
        }
        let mut cuts: Vec<Cut> = cuts.into_iter().flatten().collect();
        cuts.extend(fit_problems(&mut self.problems, &cuts));
        self.problems.extend(cuts.iter().copied().map(Problem::from));
        cuts
    }

    fn fit_texts(&mut self) {
        let host = &mut self.host;
        let words = [
            &mut host.name,
            &mut host.os,
            &mut host.kernel,
            &mut host.boot_id,
            &mut self.program.version,
        ];
        words.into_iter().for_each(|word| text(word, WORD));
        for route in &mut self.routes {
            text(&mut route.route, WORD);
            if let Some(failure) = &mut route.last_failure {
                // Including the route itself, so that all of them are limited.
                text(&mut failure.reason, TEXT / 2);
            }
        }
        if let Some(failure) = self.threat.as_mut().and_then(|threat| threat.failure.as_mut()) {
            text(failure, TEXT);
        }
        if let Status::Blocked { by: reason } | Status::Failed { reason } = &mut self.status {
            text(reason, TEXT);
        }
    }
}

/// Omits problems that were already reported, and those for which there is no room beside the ones about
/// `cuts`.
fn fit_problems(problems: &mut Vec<Problem>, cuts: &[Cut]) -> Option<Cut> {
    let mut told: BTreeSet<(String, String)> = BTreeSet::new();
    for cut in cuts.iter().copied().map(Problem::from) {
        told.insert((cut.code, cut.text));
    }
    for problem in &mut *problems {
        text(&mut problem.code, WORD);
        text(&mut problem.text, TEXT);
    }
    problems.retain(|problem| told.insert((problem.code.clone(), problem.text.clone())));
    // One more reports that problems were omitted.
    let added = cuts.len() + 1;
    let (most, mut left) = (PROBLEMS - added, PROBLEM_BYTES - added * TEXT);
    let fits = |problem: &&Problem| {
        let bytes = json_bytes_of(&problem.code) + json_bytes_of(&problem.text);
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    };
    let (had, kept) = (problems.len(), problems.iter().take(most).take_while(fits).count());
    // If only the last one is too much, it is the report of an earlier cut.
    if had == kept || (had == kept + 1 && problems[kept].code == LEFT_OUT) {
        return None;
    }
    problems.truncate(kept);
    Some(Cut { what: PROBLEMS_CUT, had, kept })
}

impl Report {
    /// Shortens the report so that it is accepted: items beyond a limit are omitted. Omitted flows count as
    /// lost. Applying it again has no effect.
    pub fn fit(&mut self) -> Vec<Cut> {
        let mut cuts = Vec::new();
        match &mut self.body {
            ReportBody::Programmed(report) => {
                cuts.push(list("rules with hits", &mut report.hits, ITEMS));
                cuts.push(list("unenforceable rules", &mut report.unenforceable, ITEMS));
            }
            ReportBody::Events(report) => {
                cuts.push(counted(&mut report.events, &mut report.lost, "events"));
            }
            ReportBody::ListeningPorts { ports } => {
                cuts.push(list("listening ports", ports, ITEMS));
            }
            ReportBody::Threats(report) => {
                cuts.push(counted(&mut report.matches, &mut report.lost, "matches"));
            }
            ReportBody::Commands { outcomes } => {
                cuts.push(list("outcomes of commands", outcomes, ITEMS));
            }
            ReportBody::Host(host) => cuts.extend(host.fit().into_iter().map(Some)),
            ReportBody::Software(report) => match &mut report.contents {
                SoftwareContents::Full { packages } => {
                    cuts.push(list("packages", packages, ITEMS));
                }
                SoftwareContents::Changes { added, removed, .. } => {
                    cuts.push(list("new packages", added, ITEMS));
                    cuts.push(list("removed packages", removed, ITEMS));
                }
            },
            ReportBody::Paths(report) => {
                cuts.push(counted(&mut report.paths, &mut report.lost, "paths"));
            }
            ReportBody::Live(report) => {
                cuts.push(counted(&mut report.events, &mut report.lost, "live events"));
                cuts.push(counted(&mut report.threats, &mut report.lost, "live matches"));
            }
            ReportBody::Agent { events } => {
                cuts.push(list("events of the program", events, ITEMS));
            }
            ReportBody::DebugLog(log) => {
                cuts.push(counted(&mut log.lines, &mut log.dropped, "lines of the log"));
            }
        }
        cuts.into_iter().flatten().collect()
    }
}

/// Shortens a list whose losses are counted separately.
fn counted<T>(items: &mut Vec<T>, lost: &mut u64, what: &'static str) -> Option<Cut> {
    let cut = list(what, items, ITEMS)?;
    let more = u64::try_from(cut.had - cut.kept).unwrap_or(u64::MAX);
    *lost = lost.saturating_add(more);
    Some(cut)
}

impl HostTelemetry {
    /// Omits items beyond a limit; addresses are limited over all interfaces.
    pub fn fit(&mut self) -> Vec<Cut> {
        let mut cuts = vec![
            list("file systems", &mut self.disks, PARTS),
            list("interfaces", &mut self.interfaces, PARTS),
        ];
        let had: usize = self.interfaces.iter().map(|interface| interface.addresses.len()).sum();
        let mut left = ADDRESSES;
        for interface in &mut self.interfaces {
            interface.addresses.truncate(left);
            left -= interface.addresses.len();
        }
        let what = "addresses of interfaces";
        cuts.push((had > ADDRESSES).then_some(Cut { what, had, kept: ADDRESSES }));
        cuts.into_iter().flatten().collect()
    }
}
