//! What a run says, in the Application event log: where administrators of Windows look for it, since a program
//! that a configuration manager runs has no console.

use std::error::Error;

use xshield_enforce::outcome::News;
use xshield_enforce::problems::chain;
use xshield_enforce::windows::application_log::{ApplicationLog, ApplicationLogError, Severity};
use xshield_enforce::{RunOutcome, foreign};

use crate::show;

/// Writes what was printed, unless the run before said the same.
pub(crate) fn write_outcome(outcome: &RunOutcome) {
    let severity = match outcome.news() {
        News::None => return,
        News::Change => Severity::Information,
        News::Problem => Severity::Warning,
        News::Failure => Severity::Error,
    };
    write(severity, &show::outcome_lines(outcome));
}

/// Writes why there was no run.
pub(crate) fn write_error(error: &dyn Error) {
    write(Severity::Error, &[chain(error)]);
}

fn write(severity: Severity, lines: &[String]) {
    let lines: Vec<_> = lines.iter().map(|line| foreign::one_line(line)).collect();
    let written = ApplicationLog::open().and_then(|log| log.write(severity, &lines.join("\r\n")));
    if let Err(error) = written {
        complain(&error);
    }
}

/// The run itself is not affected, and its result is printed as well.
fn complain(error: &ApplicationLogError) {
    show::warning(error);
}
