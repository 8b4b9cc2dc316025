//! The agent's log: to standard error, which the service manager's journal receives, and to a bounded buffer
//! for diagnostics.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use xshield_enforce::foreign;

/// The number of lines in the buffer.
const KEPT: usize = 500;
/// The longest line, in bytes; longer ones are cut.
const LONGEST: usize = 2_000;

/// The level of detail.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Problems on which an operator must act.
    Error,
    /// Problems that an operator should check.
    Warning,
    /// Events.
    #[default]
    Info,
    /// Each step in detail.
    Debug,
}

impl Level {
    /// The prefix of a line for systemd (`sd-daemon(3)`).
    fn prefix(self) -> &'static str {
        match self {
            Self::Error => "<3>",
            Self::Warning => "<4>",
            Self::Info => "<6>",
            Self::Debug => "<7>",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// The text is not one of the levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a level: expected error, warning, info or debug")]
pub struct LevelError(String);

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        [Self::Error, Self::Warning, Self::Info, Self::Debug]
            .into_iter()
            .find(|level| level.to_string() == text)
            .ok_or_else(|| LevelError(text.to_owned()))
    }
}

/// Where lines are written besides the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// To the service manager's journal.
    Journal,
    /// To a terminal.
    Terminal,
}

/// The log.
#[derive(Debug)]
pub struct Log {
    form: Form,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    level: Level,
    lines: VecDeque<String>,
}

impl Log {
    /// A log of everything up to `level`.
    #[must_use]
    pub fn new(level: Level) -> Self {
        // Set by systemd when standard error is its journal (systemd.exec(5)).
        let journal = std::env::var_os("JOURNAL_STREAM").is_some();
        let form = if journal { Form::Journal } else { Form::Terminal };
        Self { form, inner: Mutex::new(Inner { level, lines: VecDeque::new() }) }
    }

    /// Changes the level from now on.
    pub fn set_level(&self, level: Level) {
        self.lock().level = level;
    }

    /// The level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.lock().level
    }

    /// Logs an event.
    pub fn info(&self, text: &str) {
        self.say(Level::Info, text);
    }

    /// Logs a problem that should be checked.
    pub fn warn(&self, text: &str) {
        self.say(Level::Warning, text);
    }

    /// Logs an error.
    pub fn error(&self, text: &str) {
        self.say(Level::Error, text);
    }

    /// Logs a detail for troubleshooting.
    pub fn debug(&self, text: &str) {
        self.say(Level::Debug, text);
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    fn say(&self, level: Level, text: &str) {
        let mut inner = self.lock();
        if level > inner.level {
            return;
        }
        let line = one_line(text);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if inner.lines.len() >= KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(format!("{now} {level} {line}"));
        drop(inner);
        let mut error = std::io::stderr().lock();
        // If the log can't be written, enforcement continues.
        let _ = match self.form {
            Form::Journal => writeln!(error, "{}{line}", level.prefix()),
            Form::Terminal => writeln!(error, "ctagent: {level}: {line}"),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a text one line of limited length, since it may contain text of others.
fn one_line(text: &str) -> String {
    let mut line: String = foreign::one_line(text).chars().take(LONGEST).collect();
    while line.len() > LONGEST {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_buffer_is_bounded_and_filtered_by_level() {
        let log = Log::new(Level::Warning);
        log.info("not said");
        for number in 0..KEPT + 3 {
            log.warn(&format!("line {number}\nforged"));
        }
        let recent = log.recent();
        assert_eq!(recent.len(), KEPT);
        assert!(recent[0].ends_with("warning line 3\u{fffd}forged"), "{}", recent[0]);
        log.set_level(Level::Debug);
        log.debug(&"é".repeat(LONGEST));
        assert!(log.recent().last().unwrap().len() < LONGEST + 40);
        assert_eq!("debug".parse(), Ok(Level::Debug));
        assert!("loud".parse::<Level>().is_err());
    }
}
