//! Scans of the whole store, on a separate thread: the summary is rebuilt after an unclean stop, and every record is
//! compared with what was stored when the user asks or damage was found. The store reads and compares; the writer repairs a
//! file with damaged pages.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use p2p_sync_core::Uptime;
use tokio::sync::{mpsc, oneshot};

use super::ledger::Ledger;
use super::{NodeError, Verified};
use crate::store::{Depth, Scanned, StoreError, SummaryWas};

/// Requests that may wait for a check; others are refused.
const ASKED_MAX: usize = 64;
/// The earliest time to check again after more damage is found.
const PAUSE: Duration = Duration::from_secs(60);
/// The same after a session that raised doubts about the summary: a peer may do that on purpose.
const DOUBT_PAUSE: Duration = Duration::from_secs(3_600);
/// The pause before a failed scan is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How often to check whether another program changed records.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Records that another program changes all the time are read through again after this at the earliest, and after so many times
/// what reading them took: a twentieth of one core.
const REBUILD_PAUSE: Duration = Duration::from_secs(10);
const REBUILD_SHARE: u32 = 20;

type Reply = oneshot::Sender<Result<Verified, NodeError>>;
/// What the scan with this number found.
pub(super) type ScanResult = (u64, Result<Scanned, StoreError>);

/// The scan under way, and who waits for it.
pub(super) struct Checking {
    results: mpsc::Sender<ScanResult>,
    /// The number of the scan under way. What another one found is of no use any longer.
    running: Option<(u64, Depth)>,
    scans: u64,
    /// Requests answered by the running scan.
    answered: Vec<Reply>,
    /// Requests answered by the next one.
    asked: Vec<Reply>,
    /// Damage was found: when a check is due.
    check_at: Option<Uptime>,
    damaged_seen: u64,
    last_check: Option<Uptime>,
    /// After a failure: no scan before this.
    not_before: Uptime,
    /// When it is looked next whether another program changed records.
    look_at: Uptime,
    /// After records that another program changed were read through, they are read again from then on at the earliest.
    rebuild_at: Uptime,
    /// When the scan under way was begun.
    begun: Uptime,
    /// What was lost when the file was mended, to be told by the next answer.
    lost: u64,
    /// Why the file could not be opened or mended, as long as it is not: nothing is checked meanwhile.
    out_of_order: Option<NodeError>,
    /// How many records the check that runs has read.
    pub(super) progress: Arc<AtomicU64>,
    /// Damage that was repaired since the start: records, and summaries that were not those of the records.
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
            scans: 0,
            answered: Vec::new(),
            asked: Vec::new(),
            check_at: None,
            damaged_seen: 0,
            last_check: None,
            not_before: Uptime::default(),
            look_at: Uptime::default(),
            rebuild_at: Uptime::default(),
            begun: Uptime::default(),
            lost: 0,
            out_of_order: None,
            progress: Arc::default(),
            repaired: 0,
        };
        (checking, finished)
    }

    /// A request to check every record.
    pub(super) fn ask(&mut self, reply: Reply) {
        let refused = match &self.out_of_order {
            // The next attempt may be a minute away.
            Some(error) => error.clone(),
            None if self.asked.len() >= ASKED_MAX => NodeError::Crowded,
            None => return self.asked.push(reply),
        };
        // Whoever asked may have gone away meanwhile.
        let _ = reply.send(Err(refused));
    }

    /// A session ended in a way that would be explained by a summary that is not that of the records.
    pub(super) fn doubt(&mut self, at: Uptime) {
        self.want_check(DOUBT_PAUSE, at);
    }

    /// The file was changed by somebody else, who knows in which way.
    pub(super) fn distrust(&mut self, at: Uptime) {
        self.want_check(PAUSE, at);
    }

    /// The file was opened again or mended, at the cost of so many records, or could not be. A scan that was under way is over;
    /// whoever waits for it is answered by the next one.
    pub(super) fn mended(&mut self, lost: Result<u64, NodeError>) {
        self.running = None;
        self.out_of_order = lost.as_ref().err().cloned();
        match lost {
            Ok(lost) => {
                self.asked.append(&mut self.answered);
                self.repaired += lost;
                self.lost += lost;
            }
            Err(error) => {
                self.answered.append(&mut self.asked);
                self.answer(&Err(error));
            }
        }
    }

    /// Damaged records were found and set aside.
    pub(super) fn set_aside(&mut self, records: u64) {
        self.repaired += records;
    }

    /// The latest time for the next call of [`begin`](Self::begin).
    pub(super) fn next_due(&self) -> Option<Uptime> {
        let due = self.check_at.unwrap_or_default().max(self.not_before);
        let due = Some(due).filter(|due| *due > Uptime::default());
        self.running
            .is_none()
            .then(|| due.map_or(self.look_at, |due| due.min(self.look_at)))
    }

    /// Starts what is wanted, unless something is under way.
    pub(super) fn begin(&mut self, ledger: &mut Ledger, at: Uptime) {
        let seen = ledger.store().damaged_seen();
        if seen > std::mem::replace(&mut self.damaged_seen, seen) {
            self.want_check(PAUSE, at);
        }
        self.look_for_others(ledger, at);
        if self.running.is_some() || ledger.is_broken() || ledger.is_damaged() || at < self.not_before {
            return;
        }
        self.not_before = Uptime::default();
        let depth = if !self.asked.is_empty() || self.check_at.is_some_and(|due| due <= at) {
            Depth::Records
        } else if ledger.store().summary().is_none() || self.must_rebuild(ledger, at) {
            Depth::Items
        } else {
            return;
        };
        if depth == Depth::Records {
            self.check_at = None;
            self.last_check = Some(at);
        }
        self.begun = at;
        self.answered = std::mem::take(&mut self.asked);
        self.scans += 1;
        self.running = Some((self.scans, depth));
        let (results, number) = (self.results.clone(), self.scans);
        let started = ledger.start_scan(depth).and_then(|scan| {
            let scan = match depth {
                Depth::Records => scan.counting(Arc::clone(&self.progress)),
                Depth::Items => scan,
            };
            let run = move || drop(results.blocking_send((number, scan.run())));
            let thread = std::thread::Builder::new().name("scan".to_owned()).spawn(run);
            thread.map(drop).map_err(|cause| NodeError::Thread(cause.to_string()))
        });
        if let Err(error) = started {
            self.running = None;
            self.retry(depth, at);
            self.answer(&Err(error));
        }
    }

    /// A scan has ended. Tells whether what others were told of the records was wrong: some were taken out, or became known,
    /// or the summary was that of others.
    pub(super) fn end(&mut self, (number, scanned): ScanResult, ledger: &mut Ledger, at: Uptime) -> bool {
        let Some((_, depth)) = self.running.take_if(|(running, _)| *running == number) else {
            return false;
        };
        let stopped = matches!(scanned, Err(StoreError::Stopped { .. }));
        let took = at.saturating_since(self.begun);
        self.rebuild_at = at.after(REBUILD_PAUSE.max(took * REBUILD_SHARE));
        let finished = ledger.finish_scan(scanned);
        if stopped || ledger.is_damaged() {
            // Whoever waits is answered by the next one, behind the mending.
            self.asked.append(&mut self.answered);
            return false;
        }
        match &finished {
            Ok(found) => {
                self.repaired += found.removed.len() as u64;
                if found.summary == SummaryWas::Wrong {
                    self.repaired += 1;
                    tracing::warn!(
                        "The summary of the {} records was wrong. It has been corrected, and will be compared with \
                         all peers again",
                        found.records
                    );
                }
                if found.left > 0 {
                    self.want_check(PAUSE, at);
                }
                if depth == Depth::Items {
                    tracing::info!("Rebuilt the summary of {} records", found.records);
                }
            }
            Err(error) => {
                self.retry(depth, at);
                tracing::error!("The check of the store failed and will be retried: {error}");
            }
        }
        let changed = finished.as_ref().is_ok_and(|found| {
            let others = matches!(found.summary, SummaryWas::Wrong | SummaryWas::Outdated);
            others || !found.removed.is_empty() || found.indexed > 0
        });
        let lost = if self.answered.is_empty() {
            0
        } else {
            std::mem::take(&mut self.lost)
        };
        let answer = finished.map(|found| Verified {
            records: found.records,
            damaged: found.removed.len() as u64 + found.left + lost,
            summary_was_right: found.summary != SummaryWas::Wrong,
        });
        self.answer(&answer);
        changed
    }

    /// Changes by another program must be noticed even while nothing is written here.
    fn look_for_others(&mut self, ledger: &mut Ledger, at: Uptime) {
        if at < self.look_at || ledger.is_broken() || ledger.is_damaged() {
            return;
        }
        self.look_at = at.after(LOOK_INTERVAL);
        if let Err(error) = ledger.store().look_for_others() {
            if error.is_damaged_file() {
                ledger.note_damage();
            }
            tracing::debug!("cannot check for changes by other programs: {error}");
        }
    }

    /// Whether the records are to be read through because another program changed some. What it changed last time is worked off
    /// first.
    fn must_rebuild(&self, ledger: &mut Ledger, at: Uptime) -> bool {
        let store = ledger.store();
        at >= self.rebuild_at && store.is_outdated() && store.completing().is_none()
    }

    /// A scan failed: it is retried after a pause.
    fn retry(&mut self, depth: Depth, at: Uptime) {
        self.not_before = at.after(RETRY_PAUSE);
        if depth == Depth::Records {
            self.check_at = Some(self.not_before);
        }
    }

    fn want_check(&mut self, pause: Duration, at: Uptime) {
        let due = self.last_check.map_or(at, |last| last.after(pause).max(at));
        self.check_at = Some(self.check_at.map_or(due, |wanted| wanted.min(due)));
    }

    fn answer(&mut self, answer: &Result<Verified, NodeError>) {
        for reply in self.answered.drain(..) {
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::replica::Replica;
    use p2p_sync_core::{Clock, NetworkName, NodeId};
    use tempfile::TempDir;

    use super::*;
    use crate::store::SqliteStore;

    fn ledger(directory: &TempDir) -> Ledger {
        let store = SqliteStore::open(&directory.path().join("store.db"), &NetworkName::default()).unwrap();
        let me = NodeId::from_bytes(&[9]).unwrap();
        Ledger::new(Replica::new(me, Clock::new(None)), store)
    }

    fn at(seconds: u64) -> Uptime {
        Uptime(Duration::from_secs(seconds))
    }

    #[test]
    fn whoever_waits_when_the_file_is_mended_is_answered_by_the_next_scan() {
        let directory = TempDir::new().unwrap();
        let mut ledger = ledger(&directory);
        let (mut checking, mut finished) = Checking::new();
        let (reply, mut answer) = oneshot::channel();
        checking.ask(reply);
        checking.begin(&mut ledger, at(1));
        let old = finished.blocking_recv().unwrap();
        checking.mended(Ok(3));
        assert!(!checking.end(old, &mut ledger, at(2)), "it is about the old file");
        assert!(answer.try_recv().is_err());
        checking.begin(&mut ledger, at(3));
        checking.end(finished.blocking_recv().unwrap(), &mut ledger, at(4));
        let verified = answer.try_recv().unwrap().unwrap();
        assert_eq!(
            (verified.records, verified.damaged, verified.summary_was_right),
            (0, 3, true)
        );
        assert_eq!((checking.repaired, checking.check_at), (3, None));
    }

    #[test]
    fn a_file_that_cannot_be_mended_is_told_and_not_read_again_and_again() {
        let directory = TempDir::new().unwrap();
        let mut ledger = ledger(&directory);
        let (mut checking, mut finished) = Checking::new();
        let (reply, mut answer) = oneshot::channel();
        checking.ask(reply);
        ledger.note_damage();
        checking.begin(&mut ledger, at(1));
        assert!(finished.try_recv().is_err() && checking.running.is_none());
        checking.mended(Err(NodeError::Stopped));
        assert!(answer.try_recv().unwrap().is_err());

        // Whoever asks later does not wait for the next attempt.
        let (reply, mut answer) = oneshot::channel();
        checking.ask(reply);
        assert!(answer.try_recv().unwrap().is_err());
        checking.mended(Ok(0));
        let (reply, mut answer) = oneshot::channel();
        checking.ask(reply);
        assert!(answer.try_recv().is_err());
    }

    #[test]
    fn a_wrong_summary_is_counted_as_repaired_even_if_nobody_asked() {
        let directory = TempDir::new().unwrap();
        let mut ledger = ledger(&directory);
        let (mut checking, mut finished) = Checking::new();
        for (round, repaired) in [(1, 1), (5_000, 1)] {
            if round == 1 {
                ledger.store().confuse_summary();
            }
            checking.doubt(at(round));
            checking.begin(&mut ledger, at(round));
            let told_wrong = checking.end(finished.blocking_recv().unwrap(), &mut ledger, at(round));
            assert_eq!((checking.repaired, told_wrong), (repaired, round == 1), "round {round}");
        }
    }

    #[test]
    fn damage_that_is_met_is_looked_into_at_once_and_then_not_all_the_time() {
        let directory = TempDir::new().unwrap();
        let mut ledger = ledger(&directory);
        let (mut checking, mut finished) = Checking::new();
        for (seconds, scans) in [(1, 1), (2, 1), (62, 2)] {
            ledger.store().note_damaged_record();
            checking.begin(&mut ledger, at(seconds));
            assert_eq!(checking.scans, scans, "after {seconds} s");
            if checking.running.is_some() {
                checking.end(finished.blocking_recv().unwrap(), &mut ledger, at(seconds));
            }
        }
    }
}
