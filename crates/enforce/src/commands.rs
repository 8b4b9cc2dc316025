//! Commands of the platform. Each is executed once: its id is saved together with its outcome, and whatever a
//! kill interrupts before that can safely start again.

use xshield_wire::message::{
    CheckInAnswer, Command, CommandKind, CommandOutcome, CommandResult, ReportBody, UnixSeconds,
};
use xshield_wire::telemetry::{DebugLog, LogEnd};

use crate::progress::{DebugSession, WantedDiagnostics};
use crate::run::Run;
use crate::trace;

/// How many executed commands are remembered.
const COMMANDS_KEPT: usize = 200;
/// The most diagnostics that may be pending.
const MOST_WANTED: usize = 4;
/// The duration of detailed logging if the command does not name one, in seconds.
const DEFAULT_DURATION: u32 = 600;
/// The longest duration of detailed logging, in seconds.
const LONGEST_DURATION: u32 = 86_400;
/// The most lines in one report.
const LINES_PER_REPORT: usize = 1_000;
/// The longest id, in bytes: it becomes part of a path.
const LONGEST_ID: usize = 64;

/// Executes the commands of the platform's answer, each once.
pub(crate) fn obey(run: &mut Run<'_>, answer: &CheckInAnswer) {
    let mut outcomes = Vec::new();
    for command in &answer.commands {
        let known = run.progress.commands_done.contains(&command.id)
            || run.progress.diagnostics.iter().any(|wanted| wanted.command == command.id);
        if known {
            continue;
        }
        if let Some(result) = carry_out(run, command) {
            outcomes.push(done(run, &command.id, result));
        }
    }
    tell_outcomes(run, outcomes);
}

/// Starts a command; `None` if it does not finish within this call.
fn carry_out(run: &mut Run<'_>, command: &Command) -> Option<CommandResult> {
    let now = run.now();
    if command.expires.is_some_and(|end| now > end) {
        return Some(CommandResult::Expired);
    }
    match command.kind {
        CommandKind::Resend => run.progress.tell_everything_again(),
        // The run that receives the command is already the requested one.
        CommandKind::RunNow => {}
        CommandKind::Diagnostics => return want_diagnostics(run, command, now),
        CommandKind::DebugOn => {
            close_debug_log(run);
            let duration = command.duration.unwrap_or(DEFAULT_DURATION).min(LONGEST_DURATION);
            let (command, until) = (command.id.clone(), now + u64::from(duration));
            run.progress.debug = Some(DebugSession { command, until, next: 0 });
            trace::begin();
        }
        CommandKind::DebugOff => close_debug_log(run),
        CommandKind::Unknown => {
            let text = format!("command {} is unknown to this version", command.id);
            run.note("command-unknown", text);
            return Some(CommandResult::Unknown);
        }
    }
    Some(CommandResult::Done)
}

fn want_diagnostics(
    run: &mut Run<'_>,
    command: &Command,
    now: UnixSeconds,
) -> Option<CommandResult> {
    let refuse = |reason: &str| Some(CommandResult::Failed { reason: reason.to_owned() });
    if !is_plain(&command.id) {
        return refuse("its id can't be part of a path");
    }
    if run.progress.diagnostics.len() >= MOST_WANTED {
        return refuse("others are being collected; try again when they have arrived");
    }
    let (command, expires) = (command.id.clone(), command.expires);
    run.progress.diagnostics.push(WantedDiagnostics { command, begun: now, expires, attempts: 0 });
    None
}

/// Records a command as executed.
pub(crate) fn done(run: &mut Run<'_>, id: &str, result: CommandResult) -> CommandOutcome {
    run.progress.commands_done.push(id.to_owned());
    let excess = run.progress.commands_done.len().saturating_sub(COMMANDS_KEPT);
    run.progress.commands_done.drain(..excess);
    CommandOutcome { id: id.to_owned(), at: run.now(), result }
}

pub(crate) fn tell_outcomes(run: &mut Run<'_>, outcomes: Vec<CommandOutcome>) {
    if !outcomes.is_empty() {
        run.put(ReportBody::Commands { outcomes });
    }
}

/// Continues the detailed log of an earlier run unless it has expired.
pub(crate) fn resume_debug_log(run: &mut Run<'_>) {
    match &run.progress.debug {
        Some(session) if session.until > run.now() => trace::begin(),
        Some(_) => close_debug_log(run),
        None => trace::end(),
    }
}

/// Adds the log lines so far to the run's reports.
pub(crate) fn publish_debug_log(run: &mut Run<'_>, end: LogEnd) {
    let Some(mut session) = run.progress.debug.clone() else { return };
    let (lines, mut dropped) = trace::take();
    let mut chunks: Vec<_> = lines.chunks(LINES_PER_REPORT).map(<[_]>::to_vec).collect();
    if chunks.is_empty() && (end == LogEnd::Closed || dropped > 0) {
        chunks.push(Vec::new());
    }
    let last = chunks.len().saturating_sub(1);
    for (index, lines) in chunks.into_iter().enumerate() {
        let first = session.next;
        session.next += lines.len() as u64;
        let command = session.command.clone();
        let end = if index == last { end } else { LogEnd::Open };
        let dropped = std::mem::take(&mut dropped);
        run.put(ReportBody::DebugLog(DebugLog { command, first, lines, dropped, end }));
    }
    run.progress.debug = Some(session);
}

fn close_debug_log(run: &mut Run<'_>) {
    publish_debug_log(run, LogEnd::Closed);
    run.progress.debug = None;
    trace::end();
}

/// Whether an id can be part of a path and a query without encoding.
fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_ids_that_could_leave_their_directory_are_refused() {
        for (id, plain) in [
            ("c-1_B", true),
            ("", false),
            (".", false),
            ("../x", false),
            ("a/b", false),
            ("a%2e", false),
            ("ä", false),
        ] {
            assert_eq!(is_plain(id), plain, "{id:?}");
        }
        assert!(!is_plain(&"a".repeat(65)));
    }
}
