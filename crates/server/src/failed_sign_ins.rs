//! Slows down password guessing without locking anyone out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xshield_model::Timestamp;

use crate::attempts::{Attempts, Backoff};
use crate::source::Source;

/// Failures from one source.
const OF_SOURCE: Backoff = Backoff { free: 5, most: 60 };
/// Failures from all unknown sources.
const OF_ACCOUNT: Backoff = Backoff { free: 10, most: 60 };

/// Failed sign-ins.
#[derive(Debug)]
pub(crate) struct FailedSignIns(Mutex<Failures>);

#[derive(Debug)]
struct Failures {
    by_source: Attempts<(String, Source)>,
    by_account: Attempts<String>,
}

impl Default for FailedSignIns {
    fn default() -> Self {
        Self(Mutex::new(Failures {
            by_source: Attempts::new(OF_SOURCE),
            by_account: Attempts::new(OF_ACCOUNT),
        }))
    }
}

/// Whether the account was recently used from this source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It was.
    Known,
    /// The platform's own machine, so that an admin can sign in there whatever happens elsewhere.
    Here,
    /// It was not.
    New,
}

/// One address of this machine: with all of 127.0.0.0/8, its users would count as many sources.
pub(crate) fn is_here(from: IpAddr) -> bool {
    from == Ipv4Addr::LOCALHOST || from == Ipv6Addr::LOCALHOST
}

impl FailedSignIns {
    /// Starts an attempt, or returns how many seconds to wait.
    pub(crate) fn begin(
        &self,
        account: &str,
        from: Source,
        place: Place,
        now: Timestamp,
    ) -> Result<(), i64> {
        let mut failures = self.lock();
        let (name, pair) = (account.to_owned(), (account.to_owned(), from));
        let mut wait = failures.by_source.wait(&pair, now);
        if place == Place::New {
            wait = wait.max(failures.by_account.wait(&name, now));
        }
        if wait > 0 {
            return Err(wait);
        }
        failures.by_source.begin(&pair, now);
        if place == Place::New {
            failures.by_account.begin(&name, now);
        }
        Ok(())
    }

    pub(crate) fn succeeded(&self, account: &str, from: Source, place: Place) {
        let mut failures = self.lock();
        failures.by_source.succeeded(&(account.to_owned(), from));
        if place == Place::New {
            // Failures from elsewhere still count.
            failures.by_account.taken_back(&account.to_owned());
        }
    }

    /// Forgets inactive accounts and sources.
    pub(crate) fn forget(&self, now: Timestamp) {
        let mut failures = self.lock();
        failures.by_source.forget(now);
        failures.by_account.forget(now);
    }

    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn source(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn password_guesses_are_slowed_down_without_locking_accounts() {
        let failed = FailedSignIns::default();
        let guess = |from: &str, place, now| failed.begin("admin", source(from), place, now);
        let from_one = (0..100).filter(|_| guess("192.0.2.1", Place::New, NOW).is_ok()).count();
        assert_eq!(from_one, 6);
        let from_many = (0..100_u8)
            .filter(|number| guess(&format!("198.51.100.{number}"), Place::New, NOW).is_ok());
        assert_eq!(from_many.count(), 5, "all count together");
        // A source that signed in before, or the local machine, is not slowed down.
        assert_eq!(guess("10.0.0.1", Place::Known, NOW), Ok(()));
        assert_eq!(guess("127.0.0.1", Place::Here, NOW), Ok(()));
        // An hour of guesses at the maximum rate: at most one a minute, and no delay is longer.
        let mut guesses = 0;
        for second in 0..3600 {
            let from = format!("203.0.113.{}", second % 250);
            match guess(&from, Place::New, NOW.plus(second)) {
                Ok(()) => guesses += 1,
                Err(wait) => assert!((1..=60).contains(&wait)),
            }
        }
        assert!(guesses <= 70, "{guesses} guesses in an hour");
        assert_eq!(guess("10.0.0.1", Place::Known, NOW.plus(3600)), Ok(()));
    }

    #[test]
    fn localhost_addresses_are_this_machine() {
        for (from, here) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("127.0.0.2", false),
            ("127.3.0.9", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_here(from.parse().unwrap()), here, "{from}");
        }
    }

    #[test]
    fn the_correct_password_resets_the_failures_of_its_source() {
        let failed = FailedSignIns::default();
        let home = source("2001:db8:1:2::3");
        for _ in 0..6 {
            failed.begin("ann", home, Place::Known, NOW).unwrap();
        }
        let neighbour = source("2001:db8:1:2:ffff::9");
        assert!(failed.begin("ann", neighbour, Place::Known, NOW).is_err(), "the same /64");
        failed.succeeded("ann", home, Place::Known);
        assert_eq!(failed.begin("ann", home, Place::Known, NOW), Ok(()));
    }

    #[test]
    fn sign_ins_with_correct_passwords_from_new_sources_are_not_delayed() {
        let failed = FailedSignIns::default();
        for number in 0..200_u8 {
            let runner = source(&format!("198.51.100.{number}"));
            assert_eq!(failed.begin("ci", runner, Place::New, NOW), Ok(()), "{number}");
            failed.succeeded("ci", runner, Place::New);
        }
    }
}
