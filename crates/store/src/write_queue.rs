//! The queue of writers. SQLite allows one writer at a time and leaves waiting ones to compete, so they queue
//! here: in order, but interactive requests (a check-in, a sign-in, an operator) before bulk work (reports,
//! deletion), which is never starved.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Consecutive permits given before waiting bulk work gets one.
const MOST_PASSED: u32 = 8;

/// The kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WritePriority {
    /// A client waits for the result.
    Now,
    /// Bulk work, in short transactions.
    Later,
}

/// The queue.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteQueue(Arc<Mutex<Queue<oneshot::Sender<WritePermit>>>>);

/// The right to write, until dropped.
#[derive(Debug)]
pub(super) struct WritePermit {
    write_queue: WriteQueue,
    is_live: bool,
}

#[derive(Debug)]
struct Queue<T> {
    is_taken: bool,
    now: VecDeque<T>,
    later: VecDeque<T>,
    /// Permits given while bulk work waits.
    passed: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { is_taken: false, now: VecDeque::new(), later: VecDeque::new(), passed: 0 }
    }
}

impl<T> Queue<T> {
    fn push(&mut self, priority: WritePriority, waiter: T) {
        match priority {
            WritePriority::Now => self.now.push_back(waiter),
            WritePriority::Later => self.later.push_back(waiter),
        }
    }

    /// The next waiter.
    fn next(&mut self) -> Option<T> {
        let is_due = self.passed >= MOST_PASSED || self.now.is_empty();
        if is_due && let Some(waiter) = self.later.pop_front() {
            self.passed = 0;
            return Some(waiter);
        }
        let waiter = self.now.pop_front();
        self.passed = if self.later.is_empty() { 0 } else { self.passed.saturating_add(1) };
        waiter
    }
}

impl WriteQueue {
    /// Waits for a permit.
    pub(super) async fn take(&self, priority: WritePriority) -> WritePermit {
        loop {
            let given = {
                let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if !queue.is_taken {
                    queue.is_taken = true;
                    return WritePermit { write_queue: self.clone(), is_live: true };
                }
                let (give, given) = oneshot::channel();
                queue.push(priority, give);
                given
            };
            // The sender lives as long as the queue; otherwise, wait again.
            if let Ok(turn) = given.await {
                return turn;
            }
        }
    }
}

impl Drop for WritePermit {
    fn drop(&mut self) {
        if !self.is_live {
            return;
        }
        loop {
            let next = {
                let mut queue = self.write_queue.0.lock().unwrap_or_else(PoisonError::into_inner);
                let next = queue.next();
                queue.is_taken = next.is_some();
                next
            };
            let Some(next) = next else { return };
            let turn = WritePermit { write_queue: self.write_queue.clone(), is_live: true };
            // If the waiter has gone, the permit comes back. A permit that was sent but never received is
            // passed on by this same function when dropped.
            match next.send(turn) {
                Ok(()) => return,
                Err(mut refused) => refused.is_live = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn interactive_writes_go_first_without_starving_others() {
        let mut queue = Queue::default();
        for number in 0..12 {
            queue.push(WritePriority::Later, format!("bulk {number}"));
            queue.push(WritePriority::Now, format!("now {number}"));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        let first: Vec<_> = (0..8).map(|number| format!("now {number}")).collect();
        assert_eq!(order[..8], first);
        assert_eq!(order[8], "bulk 0");
        assert_eq!(order[9], "now 8");
        assert_eq!(order[13], "bulk 1");
        assert_eq!(order.len(), 24);
    }

    proptest! {
        #[test]
        fn writes_of_each_priority_stay_in_order(
            pushes in prop::collection::vec((any::<bool>(), any::<bool>()), 0..200),
        ) {
            let (mut queue, mut out, mut number) = (Queue::default(), Vec::new(), 0);
            for (is_bulk, takes) in pushes {
                let priority = if is_bulk { WritePriority::Later } else { WritePriority::Now };
                queue.push(priority, (is_bulk, number));
                number += 1;
                out.extend(takes.then(|| queue.next()).flatten());
            }
            out.extend(std::iter::from_fn(|| queue.next()));
            prop_assert_eq!(out.len(), number);
            for kind in [true, false] {
                let of_kind: Vec<_> = out.iter().filter(|one| one.0 == kind).collect();
                prop_assert!(of_kind.is_sorted());
            }
        }
    }

    #[tokio::test]
    async fn an_abandoned_permit_is_passed_on() {
        let write_queue = WriteQueue::default();
        let held = write_queue.take(WritePriority::Now).await;
        // One that is abandoned while waiting, and one that is abandoned after the permit was sent to it.
        let mut given_up = Box::pin(write_queue.take(WritePriority::Now));
        let mut too_late = Box::pin(write_queue.take(WritePriority::Now));
        for waiting in [&mut given_up, &mut too_late] {
            tokio::select! {
                biased;
                _ = waiting => panic!("the turn is taken"),
                () = std::future::ready(()) => {}
            }
        }
        drop(given_up);
        let last = tokio::spawn({
            let write_queue = write_queue.clone();
            async move { drop(write_queue.take(WritePriority::Later).await) }
        });
        while write_queue.0.lock().unwrap().later.is_empty() {
            tokio::task::yield_now().await;
        }
        drop(held);
        drop(too_late);
        last.await.unwrap();
        drop(write_queue.take(WritePriority::Now).await);
    }
}
