use super::*;
use proptest::prelude::*;

const HEARTBEAT: Duration = Duration::from_secs(120);

#[test]
fn heartbeats_keep_their_interval_and_failures_lengthen_it() {
    let mut schedule = Schedule::default();
    let half = RandomFraction::new(1 << 31);
    assert_eq!(schedule.after(Reach::Reached, HEARTBEAT, half), HEARTBEAT);
    let waits: Vec<u64> = (0..9)
        .map(|_| {
            schedule.after(Reach::Unreachable, HEARTBEAT, RandomFraction::new(u32::MAX)).as_secs()
        })
        .collect();
    assert_eq!(waits, [4, 9, 19, 39, 79, 159, 299, 299, 299]);
    assert!(schedule.is_backing_off());
    schedule.after(Reach::Reached, HEARTBEAT, half);
    assert!(!schedule.is_backing_off());
    let again = schedule.after(Reach::Unreachable, HEARTBEAT, RandomFraction::new(0));
    assert_eq!(again, FIRST_WAIT / 2);
}

proptest! {
    #[test]
    fn delays_stay_within_their_limits(rounds in prop::collection::vec(any::<(bool, u32)>(), 1..200)) {
        let mut schedule = Schedule::default();
        for (reached, bits) in rounds {
            let reach = if reached { Reach::Reached } else { Reach::Unreachable };
            let wait = schedule.after(reach, HEARTBEAT, RandomFraction::new(bits));
            let (least, most) = match reach {
                Reach::Reached => (HEARTBEAT.mul_f64(0.9), HEARTBEAT.mul_f64(1.1)),
                Reach::Unreachable => (FIRST_WAIT / 2, LONGEST_WAIT),
            };
            prop_assert!(least <= wait && wait <= most, "{wait:?}");
        }
    }

    #[test]
    fn polls_are_limited_for_every_answer(gaps in prop::collection::vec(0..5_000u64, 1..500)) {
        let (mut limit, mut now, mut polls) = (PollLimit::default(), Duration::ZERO, Vec::new());
        for gap in gaps {
            now += Duration::from_millis(gap);
            now += limit.take(now);
            polls.push(now);
        }
        for (index, at) in polls.iter().enumerate() {
            let within = polls[index..].iter().take_while(|other| **other < *at + MINUTE).count();
            // A window that overlaps two of the limit's minutes sees both.
            prop_assert!(within <= 2 * POLLS_A_MINUTE as usize, "{within}");
        }
    }
}

/// A small generator (SplitMix64), the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> RandomFraction {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        RandomFraction::new(((z ^ (z >> 31)) >> 32) as u32)
    }
}

/// The most first check-ins of 10,000 hosts in one second, after the platform was unreachable for `away`.
fn worst_second(away: Duration, failure: PollFailure) -> usize {
    let mut dice = Dice(7);
    let mut seconds = std::collections::BTreeMap::new();
    for _ in 0..10_000 {
        let mut schedule = Schedule::default();
        // All lose their poll at the same time.
        let mut now = Schedule::after_failure(failure, dice.roll());
        while now < away {
            now += schedule.after(Reach::Unreachable, HEARTBEAT, dice.roll());
        }
        *seconds.entry((now - away).as_secs()).or_insert(0) += 1;
        assert!(now - away <= LONGEST_WAIT, "a host stays away for too long");
    }
    seconds.into_values().max().unwrap_or_default()
}

#[test]
fn reconnections_of_ten_thousand_hosts_are_spread() {
    for (away, failure, most) in [
        (0, PollFailure::Elsewhere, 500),
        (10, PollFailure::Elsewhere, 1_000),
        (60, PollFailure::Elsewhere, 600),
        (600, PollFailure::Elsewhere, 150),
        (4 * 3600, PollFailure::Elsewhere, 100),
        // After a proxy failure they contact the platform by another route at once.
        (600, PollFailure::Proxy, 200),
        (4 * 3600, PollFailure::Proxy, 100),
    ] {
        let worst = worst_second(Duration::from_secs(away), failure);
        assert!(worst <= most, "after {away} s: {worst} in one second, at most {most} expected");
    }
}
