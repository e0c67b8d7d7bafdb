//! Scans of the whole store, on a thread beside the one that owns it: the summary is rebuilt after a stop that was not clean,
//! and every record is compared with what was stored when somebody asks or damage was met. What is read and compared is the
//! store's business; a file with damaged pages is mended by the writer.

use std::time::Duration;

use p2p_sync_core::Uptime;
use tokio::sync::{mpsc, oneshot};

use super::holdings::Holdings;
use super::{NodeError, Verified};
use crate::store::{Depth, Scanned, StoreError, SummaryWas};

/// Requests that wait for a check; those beyond are refused.
const ASKED_MAX: usize = 64;
/// Damage that is met again is looked into after this at the earliest.
const PAUSE: Duration = Duration::from_secs(60);
/// The same for a session that gave reason to doubt the summary: a peer may do that on purpose.
const DOUBT_PAUSE: Duration = Duration::from_secs(3_600);
/// A scan that failed is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

type Reply = oneshot::Sender<Result<Verified, NodeError>>;
pub(super) type ScanResult = Result<Scanned, StoreError>;

/// The scan under way, and who waits for it.
pub(super) struct Checking {
    results: mpsc::Sender<ScanResult>,
    running: Option<Depth>,
    /// Answered by the scan that runs.
    answered: Vec<Reply>,
    /// Answered by the next one.
    asked: Vec<Reply>,
    /// Damage was met: from this time on a check is due.
    check_at: Option<Uptime>,
    damaged_seen: u64,
    last_check: Option<Uptime>,
    /// After a failure: no scan before this.
    not_before: Uptime,
    /// What was lost when the file was mended, to be told by the next answer.
    lost: u64,
    /// Records that were damaged, since the start.
    pub(super) repaired: u64,
}

impl Checking {
    /// What runs on other threads reports to the second.
    pub(super) fn new() -> (Self, mpsc::Receiver<ScanResult>) {
        // One scan at a time.
        let (results, finished) = mpsc::channel(1);
        let checking = Self {
            results,
            running: None,
            answered: Vec::new(),
            asked: Vec::new(),
            check_at: None,
            damaged_seen: 0,
            last_check: None,
            not_before: Uptime::default(),
            lost: 0,
            repaired: 0,
        };
        (checking, finished)
    }

    /// Somebody wants every record checked.
    pub(super) fn ask(&mut self, reply: Reply) {
        if self.asked.len() < ASKED_MAX {
            self.asked.push(reply);
        } else {
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(Err(NodeError::Crowded));
        }
    }

    /// A session ended in a way that would be explained by a summary that is not that of the records.
    pub(super) fn doubt(&mut self, at: Uptime) {
        self.want_check(DOUBT_PAUSE, at);
    }

    /// The file was mended, at the cost of so many records, or could not be.
    pub(super) fn mended(&mut self, lost: Result<u64, NodeError>) {
        match lost {
            Ok(lost) => {
                self.repaired += lost;
                self.lost += lost;
            }
            Err(error) => {
                self.answered.append(&mut self.asked);
                self.answer(&Err(error));
            }
        }
    }

    /// When [`begin`](Self::begin) is to be called at the latest.
    pub(super) fn next_due(&self) -> Option<Uptime> {
        let due = self.check_at.unwrap_or_default().max(self.not_before);
        self.running
            .is_none()
            .then_some(due)
            .filter(|due| *due > Uptime::default())
    }

    /// Begins what is wanted, unless something is under way.
    pub(super) fn begin(&mut self, holdings: &mut Holdings, at: Uptime) {
        let seen = holdings.store().damaged_seen();
        if seen > std::mem::replace(&mut self.damaged_seen, seen) {
            self.want_check(PAUSE, at);
        }
        if self.running.is_some() || holdings.is_broken() || at < self.not_before {
            return;
        }
        self.not_before = Uptime::default();
        let depth = if !self.asked.is_empty() || self.check_at.is_some_and(|due| due <= at) {
            Depth::Records
        } else if holdings.store().summary().is_none() {
            Depth::Items
        } else {
            return;
        };
        if depth == Depth::Records {
            self.check_at = None;
            self.last_check = Some(at);
        }
        self.answered = std::mem::take(&mut self.asked);
        self.running = Some(depth);
        let results = self.results.clone();
        let started = holdings.start_scan(depth).and_then(|scan| {
            let run = move || drop(results.blocking_send(scan.run()));
            let thread = std::thread::Builder::new().name("scan".to_owned()).spawn(run);
            thread.map(drop).map_err(|cause| NodeError::Thread(cause.to_string()))
        });
        if let Err(error) = started {
            self.not_before = at.after(RETRY_PAUSE);
            self.answer(&Err(error));
        }
    }

    /// A scan has ended. Tells whether records were taken out, or became known.
    pub(super) fn end(&mut self, scanned: ScanResult, holdings: &mut Holdings, at: Uptime) -> bool {
        let depth = self.running;
        let finished = holdings.finish_scan(scanned);
        if holdings.is_damaged() {
            // Whoever waits is answered by the check behind the mending.
            self.running = None;
            self.asked.append(&mut self.answered);
            return false;
        }
        match &finished {
            Ok(found) => {
                self.repaired += found.removed.len() as u64;
                if found.left > 0 {
                    self.want_check(PAUSE, at);
                }
                if depth == Some(Depth::Items) {
                    tracing::info!("The summary of {} records is rebuilt", found.records);
                }
            }
            Err(error) => {
                self.not_before = at.after(RETRY_PAUSE);
                tracing::error!("The store could not be read through: {error}");
            }
        }
        let changed = finished
            .as_ref()
            .is_ok_and(|found| !found.removed.is_empty() || found.indexed > 0);
        let lost = &mut self.lost;
        let answer = finished.map(|found| Verified {
            records: found.records,
            damaged: found.removed.len() as u64 + found.left + std::mem::take(lost),
            summary_was_right: found.summary != SummaryWas::Wrong,
        });
        self.answer(&answer);
        changed
    }

    fn want_check(&mut self, pause: Duration, at: Uptime) {
        let due = self.last_check.map_or(at, |last| last.after(pause).max(at));
        self.check_at = Some(self.check_at.map_or(due, |wanted| wanted.min(due)));
    }

    fn answer(&mut self, answer: &Result<Verified, NodeError>) {
        self.running = None;
        for reply in self.answered.drain(..) {
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(answer.clone());
        }
    }
}
