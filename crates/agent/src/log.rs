//! What the agent says: to standard error, where the service manager's journal takes it, and into a
//! bounded memory of its own, for diagnostics.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use xshield_enforce::foreign;

/// How many lines are remembered.
const KEPT: usize = 500;
/// Longer lines are cut, in bytes.
const LONGEST: usize = 2_000;

/// How much is said.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What an operator must act on.
    Error,
    /// What an operator should look at.
    Warning,
    /// What happened.
    #[default]
    Info,
    /// What was done, step by step.
    Debug,
}

impl Level {
    /// As systemd reads it at a line's begin (`sd-daemon(3)`).
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

/// Not one of the levels.
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

/// Where lines go besides the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A service manager reads standard error.
    Journal,
    /// A person does.
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
    /// Says everything up to `level`.
    #[must_use]
    pub fn new(level: Level) -> Self {
        // Set by systemd when standard error is its journal (systemd.exec(5)).
        let journal = std::env::var_os("JOURNAL_STREAM").is_some();
        let form = if journal { Form::Journal } else { Form::Terminal };
        Self { form, inner: Mutex::new(Inner { level, lines: VecDeque::new() }) }
    }

    /// Changes how much is said from now on.
    pub fn set_level(&self, level: Level) {
        self.lock().level = level;
    }

    /// How much is said.
    #[must_use]
    pub fn level(&self) -> Level {
        self.lock().level
    }

    /// Says something of operators' interest.
    pub fn info(&self, text: &str) {
        self.say(Level::Info, text);
    }

    /// Says that something should be looked at.
    pub fn warn(&self, text: &str) {
        self.say(Level::Warning, text);
    }

    /// Says that something is wrong.
    pub fn error(&self, text: &str) {
        self.say(Level::Error, text);
    }

    /// Says what is of interest when something is wrong.
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
        // A log that can't be written must not end the enforcement.
        let _ = match self.form {
            Form::Journal => writeln!(error, "{}{line}", level.prefix()),
            Form::Terminal => writeln!(error, "ctagent: {level}: {line}"),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On one line, bounded: what others said may be in it.
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
    fn the_memory_is_bounded_and_the_level_counts() {
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
