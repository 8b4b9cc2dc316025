//! A text that is expensive to produce and is only refreshed now and then.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// The text and its age.
#[derive(Debug, Default)]
pub(crate) struct CachedPage(Mutex<Option<(Instant, String)>>);

impl CachedPage {
    /// The text, if it was produced within this time; otherwise it is produced, once for all who wait for it.
    pub(crate) async fn within<E, F>(
        &self,
        time: Duration,
        make: impl FnOnce() -> F,
    ) -> Result<String, E>
    where
        F: Future<Output = Result<String, E>>,
    {
        let mut cached = self.0.lock().await;
        if let Some((since, text)) = cached.as_ref()
            && since.elapsed() < time
        {
            return Ok(text.clone());
        }
        let text = make().await?;
        *cached = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn concurrent_requests_compute_the_page_once() {
        let (kept, made) = (CachedPage::default(), AtomicU32::new(0));
        let make = || {
            let number = made.fetch_add(1, Ordering::Relaxed);
            async move { if number == 0 { Err("not yet") } else { Ok(number.to_string()) } }
        };
        let long = Duration::from_secs(3600);
        assert_eq!(kept.within(long, make).await, Err("not yet"), "a failure is not kept");
        for _ in 0..10 {
            assert_eq!(kept.within(long, make).await.unwrap(), "1");
        }
        assert_eq!(kept.within(Duration::ZERO, make).await.unwrap(), "2");
    }
}
