//! A continuous background check of every row of the store, so that damage is found before the data is needed, and while
//! other nodes still have it. The store decides what to check; the writer removes damaged rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::work::{Request, Work};
use crate::store::{Patrolled, Readers, Round, StoreError};

/// How long a round through all rows takes, unless there are more than one look a second can see.
const ROUND_TIME: Duration = Duration::from_secs(24 * 3_600);
/// The first look, behind the start.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Rows of one look: some ten milliseconds.
const ROWS: u64 = 1_024;
/// How often it is kept how far the round has come; also at a clean stop.
const KEEP_INTERVAL: Duration = Duration::from_secs(3_600);

/// The patrol of a node. It ends with this.
#[derive(Debug)]
pub(super) struct Patrol {
    task: AbortHandle,
    reached: Arc<AtomicI64>,
    began: i64,
}

impl Patrol {
    /// Goes on behind the row with this number.
    pub(super) fn start(readers: Readers, requests: mpsc::WeakSender<Request>, after: i64) -> Self {
        let reached = Arc::new(AtomicI64::new(after));
        let task = tokio::spawn(walk(readers, requests, Arc::clone(&reached)));
        Self {
            task: task.abort_handle(),
            reached,
            began: after,
        }
    }

    /// Ends it, and gives how far it came, if it moved.
    pub(super) fn end(&self) -> Option<i64> {
        self.task.abort();
        Some(self.reached.load(Ordering::Relaxed)).filter(|reached| *reached != self.began)
    }
}

impl Drop for Patrol {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long it is from one look to the next in a store with so many rows.
fn pause(rows: u64) -> Duration {
    let looks = u32::try_from(rows.div_ceil(ROWS).max(1)).unwrap_or(u32::MAX);
    (ROUND_TIME / looks).clamp(PAUSE_MIN, PAUSE_MAX)
}

async fn walk(readers: Readers, requests: mpsc::WeakSender<Request>, reached: Arc<AtomicI64>) {
    let mut kept_at = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut round = Round {
        after: reached.load(Ordering::Relaxed),
        until: None,
    };
    loop {
        sleep(pause).await;
        let readers = readers.clone();
        let looked = tokio::task::spawn_blocking(move || look(&readers, round)).await;
        // The node is about to end.
        let Ok((looked, next)) = looked else { return };
        let Some(requests) = requests.upgrade() else { return };
        pause = next;
        match looked {
            Ok(patrolled) => {
                round = patrolled.left;
                reached.store(round.after, Ordering::Relaxed);
                if !patrolled.damaged.is_empty() {
                    let (reply, done) = oneshot::channel();
                    let rows = patrolled.damaged;
                    let work = Work::SetAside { rows, reply };
                    if requests.send(Request::Work(work)).await.is_err() || done.await.is_err() {
                        return;
                    }
                }
            }
            Err(error) if error.is_damaged_file() => drop(requests.try_send(Request::Damaged)),
            Err(error) => tracing::debug!("the daily check of the store failed: {error}"),
        }
        if kept_at.elapsed() >= KEEP_INTERVAL {
            kept_at = Instant::now();
            let _ = requests.try_send(Request::Work(Work::Patrolled(reached.load(Ordering::Relaxed))));
        }
    }
}

fn look(readers: &Readers, round: Round) -> (Result<Patrolled, StoreError>, Duration) {
    let rows = readers
        .counts()
        .map(|counts| counts.live.saturating_add(counts.deleted));
    match rows {
        Ok(rows) => (
            readers.patrol(round, usize::try_from(ROWS).unwrap_or(usize::MAX)),
            pause(rows),
        ),
        Err(error) => (Err(error), PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_takes_a_day_at_most_and_costs_little() {
        for rows in [0, 1, 1_024, 1_025, 10_000, 1_000_000, 11_000_000, 88_000_000] {
            let pause = pause(rows);
            assert!((PAUSE_MIN..=PAUSE_MAX).contains(&pause), "{rows}");
            let looks = u32::try_from(rows.div_ceil(ROWS)).unwrap();
            assert!(pause * looks <= ROUND_TIME, "{rows}");
        }
        assert_eq!(pause(1_000_000), ROUND_TIME / 977);
        assert_eq!(pause(u64::MAX), PAUSE_MIN, "beyond that it takes longer");
    }
}
