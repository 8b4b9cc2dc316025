//! Supervises jobs: one that panics or ends is restarted after a pause that grows with repeated failures, and
//! the state of each is exposed.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use xshield_api::health::JobStanding;
use xshield_model::Timestamp;

/// The restart delays of a job.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// After the first failure; doubled after each subsequent one.
    pub first: Duration,
    /// The maximum.
    pub longest: Duration,
    /// A job that ran for this long starts with the first delay again.
    pub steady: Duration,
}

impl Pauses {
    /// The default.
    pub const USUAL: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
        steady: Duration::from_secs(300),
    };

    /// The delay after this many consecutive failures.
    fn after(self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

/// The state of the jobs.
#[derive(Debug, Default)]
pub struct Jobs(Mutex<BTreeMap<&'static str, JobState>>);

/// The state of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobState {
    /// Whether it runs.
    pub standing: JobStanding,
    /// How often it was restarted.
    pub restarts: u64,
    /// The reason and time of its last end.
    pub last_failure: Option<(Timestamp, String)>,
}

impl Jobs {
    /// The state of each job, by name.
    #[must_use]
    pub fn states(&self) -> Vec<(&'static str, JobState)> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().map(|(name, state)| (*name, state.clone())).collect()
    }

    fn change(&self, name: &'static str, change: impl FnOnce(&mut JobState)) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = jobs.entry(name).or_default();
        change(state);
        let runs = if state.standing == JobStanding::Running { 1.0 } else { 0.0 };
        metrics::gauge!("xshield_job_running", "job" => name).set(runs);
    }

    /// Runs a job until this future is dropped, which ends the job, too.
    pub async fn keep<F>(&self, name: &'static str, pauses: Pauses, start: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut failures = 0_u32;
        loop {
            self.change(name, |state| state.standing = JobStanding::Running);
            let began = Instant::now();
            // A set aborts its tasks when it is dropped.
            let mut job = JoinSet::new();
            job.spawn(start());
            let reason = match job.join_next().await {
                Some(Err(error)) => in_words(error),
                Some(Ok(())) | None => "it ended unexpectedly".to_owned(),
            };
            failures = if began.elapsed() < pauses.steady { failures.saturating_add(1) } else { 1 };
            let pause = pauses.after(failures);
            tracing::error!(
                job = name,
                reason,
                again_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "a job failed and is restarted"
            );
            metrics::counter!("xshield_job_restarts_total", "job" => name).increment(1);
            self.change(name, |state| {
                state.standing = JobStanding::Waiting;
                state.restarts = state.restarts.saturating_add(1);
                state.last_failure = Some((Timestamp::now(), reason));
            });
            tokio::time::sleep(pause).await;
        }
    }
}

fn in_words(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("it panicked: {}", message(panic.as_ref())),
        Err(error) => error.to_string(),
    }
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const SHORT: Pauses = Pauses {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(4),
        steady: Duration::from_secs(300),
    };

    #[test]
    fn restart_delays_double_up_to_the_maximum() {
        let pauses: Vec<_> =
            [1, 2, 3, 6, 7, 40, u32::MAX].map(|n| Pauses::USUAL.after(n).as_secs()).to_vec();
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60]);
    }

    #[tokio::test]
    async fn a_job_that_panics_or_ends_is_restarted_and_logs_the_reason() {
        let (jobs, starts) = (Arc::new(Jobs::default()), Arc::new(AtomicU32::new(0)));
        let steady = Arc::new(Notify::new());
        let kept = tokio::spawn({
            let (jobs, starts, steady) = (jobs.clone(), starts.clone(), steady.clone());
            async move {
                let start = || {
                    let (number, steady) = (starts.fetch_add(1, Ordering::SeqCst), steady.clone());
                    async move {
                        match number {
                            0 => panic!("row {number} is damaged"),
                            1 => {}
                            _ => {
                                steady.notify_one();
                                std::future::pending().await
                            }
                        }
                    }
                };
                jobs.keep("judge", SHORT, start).await;
            }
        });
        steady.notified().await;
        let states = jobs.states();
        assert_eq!(states.len(), 1);
        let (name, state) = &states[0];
        assert_eq!((*name, state.standing, state.restarts), ("judge", JobStanding::Running, 2));
        assert_eq!(state.last_failure.as_ref().unwrap().1, "it ended unexpectedly");
        kept.abort();
        assert!(kept.await.unwrap_err().is_cancelled());
        assert_eq!(starts.load(Ordering::SeqCst), 3, "it ends with who keeps it");
    }

    #[tokio::test]
    async fn a_panic_is_reported_with_its_message() {
        let jobs = Arc::new(Jobs::default());
        let kept = tokio::spawn({
            let jobs = jobs.clone();
            let long = Pauses { first: Duration::from_secs(300), ..Pauses::USUAL };
            async move { jobs.keep("judge", long, || async { panic!("row {} is bad", 7) }).await }
        });
        while jobs.states().first().is_none_or(|(_, state)| state.standing == JobStanding::Running)
        {
            tokio::task::yield_now().await;
        }
        let state = &jobs.states()[0].1;
        assert_eq!(state.last_failure.as_ref().unwrap().1, "it panicked: row 7 is bad");
        kept.abort();
    }
}
