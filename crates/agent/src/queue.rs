//! Reports that wait in memory until a cycle saves them.

use xshield_enforce::Report;

/// The most waiting reports; the oldest are dropped first.
const MOST: usize = 50;

/// A queue of reports.
#[derive(Debug, Default)]
pub struct ReportQueue(Vec<Report>);

impl ReportQueue {
    /// Adds a report; returns how many were dropped for it.
    pub fn push(&mut self, report: Report) -> usize {
        self.0.push(report);
        let excess = self.0.len().saturating_sub(MOST);
        self.0.drain(..excess);
        excess
    }

    /// The waiting reports, for a cycle; they stay until they [are saved](Self::mark_saved).
    #[must_use]
    pub fn waiting(&self) -> Vec<Report> {
        self.0.clone()
    }

    /// A cycle has saved these reports.
    pub fn mark_saved(&mut self, reports: &[[u8; 16]]) {
        self.0.retain(|report| !reports.contains(&report.batch.0));
    }

    /// Whether a report is waiting.
    #[must_use]
    pub fn holds(&self, batch: [u8; 16]) -> bool {
        self.0.iter().any(|report| report.batch.0 == batch)
    }

    /// The number of waiting reports.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no report is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_enforce::ReportBody;

    #[test]
    fn reports_are_kept_until_saved_and_the_oldest_is_dropped_first() {
        let report = |number: u8| {
            Report::new([number; 16], 0, ReportBody::ListeningPorts { ports: Vec::new() })
        };
        let mut queue = ReportQueue::default();
        assert_eq!((queue.push(report(1)), queue.push(report(2))), (0, 0));
        assert_eq!(queue.waiting().len(), 2);
        queue.mark_saved(&[[1; 16]]);
        assert!(!queue.holds([1; 16]) && queue.holds([2; 16]));
        let gone: usize = (3..=200).map(|number| queue.push(report(number))).sum();
        assert_eq!((gone, queue.len()), (199 - MOST, MOST));
        assert!(!queue.holds([2; 16]) && queue.holds([200; 16]));
    }
}
