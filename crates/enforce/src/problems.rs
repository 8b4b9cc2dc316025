//! Errors as problems for operators and the platform.

use xshield_wire::message::Problem;

/// An error with its causes, as a problem to report.
#[must_use]
pub fn problem(code: &str, error: &dyn std::error::Error) -> Problem {
    Problem { code: code.to_owned(), text: chain(error) }
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Keeps each cause only in the first problem that names it.
pub(crate) fn once(problems: impl IntoIterator<Item = Problem>) -> Vec<Problem> {
    let mut told: Vec<Problem> = Vec::new();
    for problem in problems {
        if !told.iter().any(|before| says_the_same(before, &problem)) {
            told.push(problem);
        }
    }
    told
}

/// Whether two problems are the same: identical, or the platform's refusal and the failure that it caused.
/// Problems with other codes stay, since they say what is not done: a list that is not in force is more than
/// a change of it that was refused.
fn says_the_same(one: &Problem, other: &Problem) -> bool {
    let is_of_the_platform = |problem: &Problem| problem.code.starts_with("platform-");
    one == other
        || ((is_of_the_platform(one) || is_of_the_platform(other))
            && is_of_one_cause(&one.text, &other.text))
}

/// Whether two texts are equal, or one is the other with a failed action in front.
fn is_of_one_cause(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    long.strip_suffix(short).is_some_and(|front| front.is_empty() || front.ends_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_reported_once() {
        let refused = "the platform refused a session: the key is revoked";
        let behind =
            "fetching the threat list failed: the platform refused a session: the key is revoked";
        for (found, told) in [
            (&[("platform-refused", refused)][..], &["platform-refused"][..]),
            (
                &[("platform-refused", refused), ("report-undelivered", refused)],
                &["platform-refused"],
            ),
            (&[("platform-refused", refused), ("threat-failed", behind)], &["platform-refused"]),
            (&[("threat-failed", behind), ("platform-refused", refused)], &["threat-failed"]),
            (
                &[("spool", "could not write a"), ("spool", "could not write b")],
                &["spool", "spool"],
            ),
            (&[("a", "full"), ("b", "the disk is full")], &["a", "b"]),
            (
                &[("threat-delta-refused", "wrong file"), ("threat-failed", "wrong file")],
                &["threat-delta-refused", "threat-failed"],
            ),
        ] {
            let problem = |(code, text): &(&str, &str)| Problem {
                code: (*code).to_owned(),
                text: (*text).to_owned(),
            };
            let found_once = once(found.iter().map(problem));
            let codes: Vec<&str> = found_once.iter().map(|one| one.code.as_str()).collect();
            assert_eq!(codes, told, "{found:?}");
        }
    }
}
