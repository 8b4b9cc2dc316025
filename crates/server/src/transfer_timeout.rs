//! Timeout for peers that transfer bytes slowly.

use std::time::Duration;

/// A time budget that waiting consumes and every transferred byte refills. A peer that transfers nothing
/// times out after [`TransferTimeout::most`], one below the minimum rate a little later, and no others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransferTimeout {
    left: Duration,
    most: Duration,
    bytes_per_second: u32,
}

impl TransferTimeout {
    pub(crate) fn new(most: Duration, bytes_per_second: u32) -> Self {
        Self { left: most, most, bytes_per_second: bytes_per_second.max(1) }
    }

    /// How long it may take until the next bytes are transferred.
    pub(crate) fn left(&self) -> Duration {
        self.left
    }

    /// Nothing was transferred for this long.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// This many bytes were transferred.
    pub(crate) fn moved(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1).saturating_mul(bytes) / self.bytes_per_second;
        self.left = self.left.saturating_add(earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_transfers_time_out_and_fast_ones_do_not() {
        // Bytes per second of waiting, for how many seconds, and whether it has not timed out.
        for (bytes, seconds, goes_on) in [
            (0, 9, true),
            (0, 10, false),
            (1, 11, false),
            (512, 18, true),
            (512, 19, false),
            (1000, 300, true),
            (1000, 400, false),
            (1024, 100_000, true),
            (1 << 20, 100_000, true),
        ] {
            let mut transfer_timeout = TransferTimeout::new(Duration::from_secs(10), 1024);
            let mut went = 0;
            while went < seconds && !transfer_timeout.left().is_zero() {
                transfer_timeout.waited(Duration::from_secs(1));
                if !transfer_timeout.left().is_zero() {
                    transfer_timeout.moved(bytes);
                }
                went += 1;
            }
            assert_eq!(!transfer_timeout.left().is_zero(), goes_on, "{bytes} B/s for {seconds} s");
        }
    }
}
