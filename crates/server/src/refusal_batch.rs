//! Aggregates refusals for the audit log: one line with a count for each kind, subject and source per minute,
//! and a limited number of lines per hour, however much is refused.

use std::collections::HashMap;

use crate::source::Source;

/// The maximum number of distinct kinds, subjects and sources.
const MOST: usize = 1000;
/// The maximum number of lines per minute.
const LINES: usize = 10;
/// The burst of lines after a quiet hour; one more is allowed per minute.
const BUDGET: usize = 60;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Refusal {
    /// The audit log's action.
    pub(crate) action: &'static str,
    /// The reason.
    pub(crate) reason: String,
    /// The subject, as far as it is known to exist: names invented by unauthenticated clients are not recorded, as they may
    /// be a password in the wrong field.
    pub(crate) subject: Option<String>,
    /// The source.
    pub(crate) from: Source,
}

/// A line of the audit log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) action: &'static str,
    pub(crate) target: String,
    pub(crate) text: String,
}

/// The refusals since the last [`RefusalBatch::lines`].
#[derive(Debug, Default)]
pub(crate) struct RefusalBatch {
    counts: HashMap<Refusal, u64>,
    /// By action, what exceeded the limit of `counts`.
    others: HashMap<&'static str, u64>,
    spent: usize,
}

impl RefusalBatch {
    /// Counts a refusal.
    pub(crate) fn note(&mut self, refused: Refusal) {
        if self.counts.len() >= MOST && !self.counts.contains_key(&refused) {
            *self.others.entry(refused.action).or_default() += 1;
        } else {
            *self.counts.entry(refused).or_default() += 1;
        }
    }

    /// The lines of this minute, highest counts first; to be called once a minute.
    pub(crate) fn lines(&mut self) -> Vec<Line> {
        let mut counts: Vec<_> = std::mem::take(&mut self.counts).into_iter().collect();
        counts.sort_by(|(a, times), (b, other)| {
            other.cmp(times).then_with(|| a.reason.cmp(&b.reason)).then_with(|| a.from.cmp(&b.from))
        });
        let room = BUDGET.saturating_sub(self.spent).min(LINES);
        let rest = counts.split_off(room.min(counts.len()));
        self.spent = (self.spent + counts.len()).saturating_sub(1);
        let one = |(refused, times): (Refusal, u64)| Line {
            action: refused.action,
            target: refused.subject.unwrap_or_else(|| "nobody known".to_owned()),
            text: format!("{} from {}: {}", often(times), refused.from, refused.reason),
        };
        let mut lines: Vec<Line> = counts.into_iter().map(one).collect();
        let mut others: Vec<_> = std::mem::take(&mut self.others).into_iter().collect();
        for (refused, times) in rest {
            match others.iter_mut().find(|(action, _)| *action == refused.action) {
                Some((_, all)) => *all += times,
                None => others.push((refused.action, times)),
            }
        }
        others.sort_unstable();
        lines.extend(others.into_iter().map(|(action, times)| Line {
            action,
            target: "others".to_owned(),
            text: format!("{} more, not itemized", often(times)),
        }));
        lines
    }
}

fn often(times: u64) -> String {
    if times == 1 { "once".to_owned() } else { format!("{times} times") }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn refused(number: u32) -> Refusal {
        Refusal {
            action: "user.login-failed",
            reason: "wrong password".to_owned(),
            subject: Some("admin".to_owned()),
            from: Source::from(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))),
        }
    }

    #[test]
    fn equal_refusals_are_one_line_with_a_count() {
        let mut batch = RefusalBatch::default();
        (0..500).for_each(|_| batch.note(refused(1)));
        batch.note(Refusal { subject: None, ..refused(2) });
        let line = |target: &str, text: &str| Line {
            action: "user.login-failed",
            target: target.to_owned(),
            text: text.to_owned(),
        };
        let wanted = [
            line("admin", "500 times from 10.0.0.1: wrong password"),
            line("nobody known", "once from 10.0.0.2: wrong password"),
        ];
        assert_eq!(batch.lines(), wanted);
        assert_eq!(batch.lines(), []);
    }

    #[test]
    fn a_flood_of_refusals_is_few_lines_and_fully_counted() {
        let mut batch = RefusalBatch::default();
        let (mut lines, mut told) = (0, 0);
        for _ in 0..60 {
            (0..5000).for_each(|number| batch.note(refused(number)));
            for line in batch.lines() {
                lines += 1;
                told += line.text.split(' ').next().unwrap().parse::<u64>().unwrap_or(1);
            }
        }
        assert_eq!(told, 60 * 5000);
        assert!(lines <= 2 * 60 + BUDGET, "{lines} lines in an hour");
    }
}
