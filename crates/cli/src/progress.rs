//! Long-running work: shows progress, and reports the resulting state when interrupted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::terminal::{is_plain_terminal, note, notes_are_at_terminal};

/// At a terminal, progress is shown for work that takes longer than this.
const SHOWN_AFTER: Duration = Duration::from_millis(700);
/// Elsewhere, one line after the first interval and then one after each of the second.
const TOLD_AFTER: Duration = Duration::from_secs(5);
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The state that an interruption leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AfterInterrupt {
    /// Unchanged.
    Nothing,
    /// The platform was asked to change something, and does so independently.
    Asked {
        /// The command that shows the result.
        see: Option<String>,
    },
    /// Only known to the command.
    Said(String),
    /// A partial file, which has another name until it is complete.
    PartOf {
        /// The temporary name.
        beside: PathBuf,
        /// The final name.
        file: PathBuf,
    },
    /// A complete file.
    Whole(PathBuf),
    /// A part of the output was written.
    PartOfOutput,
    /// Nothing to report: it was meant to run until interrupted.
    Unsaid,
}

impl AfterInterrupt {
    /// In words; `None` when there is nothing to report.
    pub(super) fn in_words(&self) -> Option<String> {
        Some(match self {
            Self::Nothing => "nothing was changed".to_owned(),
            Self::Asked { see } => {
                let goes_on = "once the platform has received the whole request, it carries it out";
                match see {
                    Some(command) => format!("{goes_on}. Check the result: {command}"),
                    None => format!("{goes_on}; check the result before you try again"),
                }
            }
            Self::Said(told) => told.clone(),
            Self::PartOf { file, .. } if file.exists() => {
                format!("the partial file was removed; {} is as it was", file.display())
            }
            Self::PartOf { file, .. } => {
                format!("the partial file was removed; there is no {}", file.display())
            }
            Self::Whole(file) => format!("{} is complete", file.display()),
            Self::PartOfOutput => "the output is not complete".to_owned(),
            Self::Unsaid => return None,
        })
    }
}

/// Whether progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// When it takes long.
    WhenLong,
    /// Never: it has lines of its own, or output on the same terminal.
    Never,
}

/// Cleanup when a process is interrupted.
type Cleanup = Box<dyn FnOnce() + Send>;

struct OngoingWork {
    action: String,
    left: AfterInterrupt,
    put_back: Option<Cleanup>,
    bar: Option<ProgressBar>,
    began: Instant,
    bytes: Option<u64>,
}

impl OngoingWork {
    /// As in "still waiting to export the list: 15 s, 3.2 MiB".
    fn line(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        let bytes = self.bytes.map(|bytes| format!(", {}", HumanBytes(bytes))).unwrap_or_default();
        format!("still waiting to {}: {seconds} s{bytes}", self.action)
    }
}

/// The work in progress in this process: there is one terminal and one Ctrl-C.
static UNDER_WAY: Mutex<Option<OngoingWork>> = Mutex::new(None);

fn under_way() -> MutexGuard<'static, Option<OngoingWork>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work that somebody waits for, until it is dropped. Of nested work the outermost is shown.
pub(crate) struct Waiting {
    is_outermost: bool,
    ended: Option<Arc<(Mutex<bool>, Condvar)>>,
}

impl Waiting {
    /// `action` completes "still waiting to …".
    pub(crate) fn begin(action: &str, left: AfterInterrupt, shown: Shown) -> Self {
        end_by_signals();
        let mut now = under_way();
        if now.is_some() {
            return Self { is_outermost: false, ended: None };
        }
        *now = Some(OngoingWork {
            action: action.to_owned(),
            left,
            put_back: None,
            bar: None,
            began: Instant::now(),
            bytes: None,
        });
        drop(now);
        let ended = (shown == Shown::WhenLong).then(|| {
            let ended = Arc::new((Mutex::new(false), Condvar::new()));
            let seen = ended.clone();
            std::thread::spawn(move || show_until(&seen));
            ended
        });
        Self { is_outermost: true, ended }
    }

    /// Waits for a person's answer; nothing is changed before.
    pub(crate) fn for_an_answer() -> Self {
        Self::begin("ask", AfterInterrupt::Nothing, Shown::Never)
    }

    /// Runs until interrupted, with nothing to report then.
    pub(crate) fn until_stopped() -> Self {
        Self::begin("follow", AfterInterrupt::Unsaid, Shown::Never)
    }

    /// Cleanup when the process is interrupted before this is dropped.
    pub(crate) fn putting_back(self, put_back: impl FnOnce() + Send + 'static) -> Self {
        if let Some(now) = under_way().as_mut().filter(|_| self.is_outermost) {
            now.put_back = Some(Box::new(put_back));
        }
        self
    }

    /// Completes a file. An interruption reports whether it came before or after, and no cleanup is done from
    /// then on.
    pub(crate) fn finish_file(
        &self,
        file: &Path,
        finish: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut now = under_way();
        finish()?;
        if let Some(now) = now.as_mut().filter(|_| self.is_outermost) {
            now.left = AfterInterrupt::Whole(file.to_owned());
            now.put_back = None;
        }
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_outermost {
            return;
        }
        let last = under_way().take();
        if let Some(bar) = last.and_then(|last| last.bar) {
            bar.finish_and_clear();
        }
        if let Some(ended) = &self.ended {
            *ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            ended.1.notify_all();
        }
    }
}

/// Counts received bytes of the work in progress.
pub(crate) fn received(bytes: u64) {
    if let Some(now) = under_way().as_mut() {
        now.bytes = Some(bytes);
        if let Some(bar) = &now.bar {
            bar.set_message(now.line());
        }
    }
}

/// Shows progress in a form that suits the output.
fn show_until(ended: &(Mutex<bool>, Condvar)) {
    let at_terminal = notes_are_at_terminal() && !is_plain_terminal();
    let (mut next, every) = match at_terminal {
        true => (SHOWN_AFTER, Duration::from_secs(1)),
        false => (TOLD_AFTER, TOLD_EVERY),
    };
    let mut is_over = ended.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let waited = ended.1.wait_timeout_while(is_over, next, |is_over| !*is_over);
        is_over = waited.unwrap_or_else(PoisonError::into_inner).0;
        if *is_over {
            return;
        }
        next = every;
        let mut now = under_way();
        let Some(now) = now.as_mut() else { return };
        match at_terminal {
            true => {
                let line = now.line();
                now.bar.get_or_insert_with(spinner).set_message(line);
            }
            false => note(&now.line()),
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// From now on Ctrl-C and SIGTERM end the process through [`stop`].
fn end_by_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // If that fails, the signals end the process silently, as by default.
        if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) {
            std::thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    stop(signal);
                }
            });
        }
    });
}

/// Cleans up, reports the resulting state, and ends the process as shells expect it after a signal.
fn stop(signal: i32) -> ! {
    // Never released: nothing is renamed or started any more.
    let mut now = under_way();
    if let Some(now) = now.as_mut() {
        if let Some(bar) = &now.bar {
            bar.finish_and_clear();
        }
        if notes_are_at_terminal() {
            // The terminal has printed ^C on the current line.
            note("");
        }
        if let Some(put_back) = now.put_back.take() {
            put_back();
        }
        if let AfterInterrupt::PartOf { beside, .. } = &now.left
            && let Err(error) = fs::remove_file(beside)
            && error.kind() != io::ErrorKind::NotFound
        {
            note(&format!("could not remove {}: {error}", beside.display()));
        }
        if let Some(left) = now.left.in_words() {
            note(&format!("stopped: {left}"));
        }
    }
    std::process::exit(128 + signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_says_what_it_leaves() {
        let there = tempfile::NamedTempFile::new().unwrap();
        let part_of =
            |file: &str| AfterInterrupt::PartOf { beside: "x.new".into(), file: file.into() };
        let there = there.path().display().to_string();
        let see = Some("xshield policy revisions".to_owned());
        for (left, told) in [
            (AfterInterrupt::Nothing, Some("nothing was changed".to_owned())),
            (
                AfterInterrupt::Asked { see },
                Some(
                    "once the platform has received the whole request, it carries it out. Check \
                     the result: xshield policy revisions"
                        .to_owned(),
                ),
            ),
            (
                AfterInterrupt::Asked { see: None },
                Some(
                    "once the platform has received the whole request, it carries it out; check \
                     the result before you try again"
                        .to_owned(),
                ),
            ),
            (
                part_of("/nowhere/x"),
                Some("the partial file was removed; there is no /nowhere/x".to_owned()),
            ),
            (part_of(&there), Some(format!("the partial file was removed; {there} is as it was"))),
            (AfterInterrupt::Whole("x".into()), Some("x is complete".to_owned())),
            (AfterInterrupt::PartOfOutput, Some("the output is not complete".to_owned())),
            (AfterInterrupt::Unsaid, None),
        ] {
            assert_eq!(left.in_words(), told, "{left:?}");
        }
    }
}
