//! Results, for people and as JSON.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use xshield_enforce::foreign;
use xshield_enforce::outcome::{Contact, RulesetChange, ThreatChange};
use xshield_enforce::problems::chain;
use xshield_enforce::summary::PolicySummary;
use xshield_enforce::threat::verbs::{Lookup, ThreatStatus};
use xshield_enforce::verbs::{Explanation, Restored, StatusReport};
use xshield_enforce::{Downloaded, FlowCount, FlowKind, Problem};
use xshield_enforce::{RunOutcome, RunStatus};

/// The most addresses that left which are listed.
const LEFT_SHOWN: usize = 10;

/// Prints one line; line breaks in texts of others are replaced.
macro_rules! say {
    ($($text:tt)*) => {
        put(&format!($($text)*))
    };
}

#[allow(clippy::print_stdout, reason = "the one place that prints, and what it prints is one line")]
fn put(line: &str) {
    println!("{}", foreign::one_line(line));
}

#[allow(clippy::print_stderr, reason = "the one place that prints, and what it prints is one line")]
fn complain(line: &str) {
    eprintln!("ctspark: {}", foreign::one_line(line));
}

/// Something that does not change the result of the run.
#[cfg(windows)]
pub(crate) fn warning(error: &dyn Error) {
    complain(&chain(error));
}

/// Ctrl-C has ended a run.
pub(crate) fn interrupted() {
    complain(
        "interrupted; the ruleset in force stays. If a new one was on trial, the kernel reverts \
         it when its time expires or, on Windows, now, and the next run completes what this one began",
    );
}

/// The time of a trial on Windows has passed, and the run did not end it.
#[cfg(windows)]
pub(crate) fn expired() {
    complain(EXPIRED);
}

/// The same for programs that read the output.
#[cfg(windows)]
pub(crate) fn expired_json() {
    json(&serde_json::json!({ "status": "reverted", "error": EXPIRED }));
}

#[cfg(windows)]
const EXPIRED: &str = "the new ruleset was not confirmed within probation-seconds, and this run did not \
                       revert it: the run ends here, and with it the trial. The previous ruleset is in \
                       force again, and the next run tries the new one again";

/// Shows at a terminal the progress of a download, on a line that is removed at the end. Small downloads are
/// not shown.
#[allow(clippy::print_stderr, reason = "one line of our own, which is erased again")]
pub(crate) fn downloaded(so_far: Downloaded) {
    if so_far.whole >= WORTH_A_LINE {
        eprint!("{}", progress(so_far));
    }
}

/// The smallest download that is shown, in bytes.
const WORTH_A_LINE: u64 = 64 << 10;

fn progress(Downloaded { bytes, whole }: Downloaded) -> String {
    match bytes.saturating_mul(100) / whole.max(1) {
        100.. => "\r\u{1b}[K".to_owned(),
        percent => format!("\rdownloading the threat list: {percent} % of {} KiB", whole >> 10),
    }
}

/// Who signed the program.
#[cfg(windows)]
pub(crate) fn signature(text: &str) {
    say!("{text}");
}

/// One JSON object on one line.
pub(crate) fn json(value: &impl Serialize) {
    match foreign::json(value) {
        Ok(text) => say!("{text}"),
        Err(error) => complain(&format!("writing the result as JSON failed: {error}")),
    }
}

pub(crate) fn error(error: &dyn Error, as_json: bool) {
    if as_json {
        json(&serde_json::json!({ "status": "failed", "error": chain(error) }));
    } else {
        complain(&chain(error));
    }
}

pub(crate) fn outcome(outcome: &RunOutcome) {
    outcome_lines(outcome).iter().for_each(|line| put(line));
}

/// The result of a run, line by line.
pub(crate) fn outcome_lines(outcome: &RunOutcome) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |line: String| lines.push(line);
    let status = match outcome.status {
        RunStatus::Enforcing => {
            outcome.policy.as_ref().map_or("enforcing", PolicySummary::in_words)
        }
        RunStatus::NoPolicy => "no policy yet: nothing is enforced",
        RunStatus::AnotherRun => "another run is in progress: nothing was done",
        RunStatus::Blocked => "blocked: firewalld is on this host; nothing was changed",
        RunStatus::PlatformUnreachable => "the platform could not be reached",
        RunStatus::Refused => "the platform refused this host",
        RunStatus::RulesetRefused => "the received ruleset was refused",
        RunStatus::Reverted => "the new ruleset blocked the platform and was reverted",
        RunStatus::Failed => "failed",
    };
    add(status.to_owned());
    if let Some(in_force) = outcome.in_force {
        let change = match outcome.change {
            RulesetChange::None => "unchanged",
            RulesetChange::Applied => "applied and confirmed in this run",
            RulesetChange::Repaired => "repaired in this run",
            RulesetChange::Reverted => "reverted in this run",
        };
        add(format!("  in force   revision {}, {change}", in_force.revision));
        if let Some(PolicySummary { inbound, outbound, .. }) = &outcome.policy {
            add(format!("  inbound    {inbound}"));
            add(format!("  outbound   {outbound}"));
        }
    }
    if let Some(list) = &outcome.threat.list {
        let change = match outcome.threat.change {
            ThreatChange::None => "unchanged",
            ThreatChange::Loaded => "loaded in this run",
            ThreatChange::Changed => "changed in this run",
            ThreatChange::Posture => "modes changed in this run",
            ThreatChange::Repaired => "repaired in this run",
            ThreatChange::Removed => "removed in this run",
        };
        add(format!("  threats    revision {}, {} entries, {change}", list.revision, list.entries));
    }
    if outcome.platform == Contact::Reached {
        add(format!("  reported   {} delivered, {} waiting", outcome.delivered, outcome.waiting));
    }
    // Without proxies there is only one route.
    if outcome.routes.len() > 1
        && let Some(used) = outcome.routes.iter().find(|route| route.in_use)
    {
        add(format!("  route      {}", used.route));
    }
    // Operators compare it when they approve this host.
    if let (RunStatus::Refused, Some(fingerprint)) = (outcome.status, outcome.fingerprint) {
        add(format!("  fingerprint {fingerprint}"));
    }
    for text in outcome.left.iter().take(LEFT_SHOWN) {
        add(format!("  left       {text}"));
    }
    let more = outcome.left.len().saturating_sub(LEFT_SHOWN);
    if more > 0 {
        add(format!("  left       {more} more"));
    }
    lines.extend(problem_lines(&outcome.problems));
    lines
}

pub(crate) fn status(status: &StatusReport) {
    say!("name             {}", status.name);
    match status.fingerprint {
        Some(fingerprint) => say!("fingerprint      {fingerprint}"),
        None => say!("fingerprint      none: the first run generates the identity key"),
    }
    say!("kernel           {}", status.kernel);
    match status.last_known_good {
        Some(known) => say!("last known good  revision {}", known.revision),
        None => say!("last known good  none"),
    }
    if let Some(PolicySummary { inbound, outbound, .. }) = &status.policy {
        say!("inbound          {inbound}");
        say!("outbound         {outbound}");
    }
    threats(&status.threat);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let ago = |time: Option<u64>| time.map_or("never".to_owned(), |time| since(time, now));
    say!("last contact     {}", ago(status.last_contact));
    say!("last run         {}", ago(status.last_run));
    for route in &status.routes {
        let mut text = route.route.to_string();
        if route.in_use {
            text.push_str(", in use");
        }
        if let Some(failure) = &route.last_failure {
            text.push_str(&format!(", failed {}: {}", since(failure.at, now), failure.reason));
        }
        say!("route            {text}");
    }
    problems(&status.problems);
}

fn threats(threat: &ThreatStatus) {
    say!("threat list      {}", threat.kernel);
    if let Some(list) = &threat.list {
        let whole = list.whole_entries;
        let part = if list.is_part() { format!(" of {whole}") } else { String::new() };
        say!("threat entries   {}{part}", list.entries);
    }
    if let (Some(inbound), Some(outbound)) = (threat.inbound, threat.outbound) {
        say!("threat modes     {inbound} inbound, {outbound} outbound");
    }
    if let Some(failure) = &threat.failure {
        say!("threat failure   {failure}");
    }
}

/// How long ago, in the largest unit that is not zero.
fn since(time: u64, now: u64) -> String {
    let seconds = now.saturating_sub(time);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

pub(crate) fn restored(restored: &Restored) {
    if let Some(policy) = restored.policy {
        say!("restored revision {}", policy.revision);
    }
    if let Some(list) = &restored.threat {
        say!("restored threat list revision {}, {} entries", list.revision, list.entries);
    }
}

pub(crate) fn lookup(found: &Lookup) {
    let Lookup { address, revision, digest, .. } = found;
    match &found.entry {
        Some(entry) => say!("{address} is listed, by entry {entry}"),
        None => say!("{address} is not listed"),
    }
    if let (Some(inbound), Some(outbound)) = (found.inbound, found.outbound) {
        say!("  modes   {inbound} inbound, {outbound} outbound");
    }
    say!("  list    revision {revision}, {digest}");
    for flow in &found.matches {
        let action = match flow.kind {
            FlowKind::Denied => "blocked",
            FlowKind::WouldDeny | FlowKind::Accepted => "recorded",
        };
        let FlowCount { direction, source, destination, protocol, port, packets, .. } = flow;
        say!(
            "  {action}  {direction} {source} -> {destination} {protocol} {port}, {packets} packets"
        );
    }
}

pub(crate) fn removed() {
    #[cfg(target_os = "linux")]
    say!(
        "removed tables inet xshield and inet xshield_threat, the boot unit and the state directory"
    );
    #[cfg(windows)]
    say!("removed the filters, sublayer and provider of Xshield, and the state directory");
}

pub(crate) fn explanation(explanation: &Explanation) {
    explanation.to_string().lines().for_each(|line| say!("{line}"));
}

fn problems(problems: &[Problem]) {
    problem_lines(problems).iter().for_each(|line| put(line));
}

fn problem_lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("  {}: {}", problem.code, problem.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_shown_until_complete() {
        for (bytes, shown) in [
            (0, "\rdownloading the threat list: 0 % of 200 KiB"),
            (102_400, "\rdownloading the threat list: 50 % of 200 KiB"),
            (204_799, "\rdownloading the threat list: 99 % of 200 KiB"),
            (204_800, "\r\u{1b}[K"),
        ] {
            assert_eq!(progress(Downloaded { bytes, whole: 204_800 }), shown);
        }
    }
}
