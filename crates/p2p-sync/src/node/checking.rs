//! Scans of the whole store, on a thread beside the one that owns it: the summary is rebuilt after a stop that was not clean,
//! and every record is compared with what was stored when somebody asks or damage was met. A store with damaged pages is
//! rescued here. What is read and compared is the store's business.

use p2p_sync_core::Uptime;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use super::holdings::Holdings;
use super::{NodeError, Verified};
use crate::store::{Depth, Scanned, StoreError, SummaryWas};

/// Requests that one check answers.
const ASKED_MAX: usize = 64;
/// Damage that is met again is looked into after this at the earliest.
const PAUSE: Duration = Duration::from_secs(60);

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
    /// Damage was met: a check is wanted, but not all the time.
    suspicious: bool,
    damaged_seen: u64,
    last_check: Option<Uptime>,
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
            suspicious: false,
            damaged_seen: 0,
            last_check: None,
            repaired: 0,
        };
        (checking, finished)
    }

    /// Somebody wants every record checked.
    pub(super) fn ask(&mut self, reply: Reply) {
        if self.asked.len() < ASKED_MAX {
            self.asked.push(reply);
        }
    }

    /// Begins what is wanted, unless something is under way.
    pub(super) fn begin(&mut self, holdings: &mut Holdings, at: Uptime) {
        let seen = holdings.store().damaged_seen();
        self.suspicious |= seen > self.damaged_seen;
        self.damaged_seen = seen;
        if self.running.is_some() || holdings.is_broken() {
            return;
        }
        let rested = self.last_check.is_none_or(|last| at.saturating_since(last) >= PAUSE);
        let depth = if !self.asked.is_empty() || (self.suspicious && rested) {
            Depth::Records
        } else if holdings.store().summary().is_none() {
            Depth::Items
        } else {
            return;
        };
        if depth == Depth::Records {
            self.suspicious = false;
            self.last_check = Some(at);
        }
        self.answered = std::mem::take(&mut self.asked);
        self.running = Some(depth);
        let results = self.results.clone();
        let started = holdings
            .store()
            .start_scan(depth)
            .map_err(NodeError::from)
            .and_then(|scan| {
                let run = move || drop(results.blocking_send(scan.run()));
                let thread = std::thread::Builder::new().name("scan".to_owned()).spawn(run);
                thread.map(drop).map_err(|cause| NodeError::Thread(cause.to_string()))
            });
        if let Err(error) = started {
            self.answer(&Err(error));
        }
    }

    /// A scan has ended. Tells whether records were taken out, or became known.
    pub(super) fn end(&mut self, scanned: ScanResult, holdings: &mut Holdings) -> bool {
        let depth = self.running;
        let finished = scanned.and_then(|scanned| holdings.store().finish_scan(scanned));
        match &finished {
            Ok(found) => {
                self.repaired += found.removed.len() as u64;
                self.suspicious |= found.left > 0;
                if let Some(structure) = &found.structure {
                    tracing::error!("The file of the store is damaged: {structure}");
                    holdings.note_damage();
                }
                if depth == Some(Depth::Items) {
                    tracing::info!("The summary of {} records is rebuilt", found.records);
                }
            }
            Err(error) => tracing::error!("The store could not be read through: {error}"),
        }
        let changed = finished
            .as_ref()
            .is_ok_and(|found| !found.removed.is_empty() || found.indexed > 0);
        let answer = finished.map_err(NodeError::from).map(|found| Verified {
            records: found.records,
            damaged: found.removed.len() as u64 + found.left,
            summary_was_right: found.summary != SummaryWas::Wrong,
        });
        self.answer(&answer);
        changed
    }

    fn answer(&mut self, answer: &Result<Verified, NodeError>) {
        self.running = None;
        for reply in self.answered.drain(..) {
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(answer.clone());
        }
    }
}
