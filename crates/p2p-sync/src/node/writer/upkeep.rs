//! The writer's other duties: who listens, what a scan found, a store that is damaged or broken.

use std::time::Duration;

use p2p_sync_core::Via;

use super::Writer;
use crate::node::SyncStatus;
use crate::node::checking::ScanResult;
use crate::node::completing::Step;
use crate::system::Now;

/// A damaged store that could not be mended is tried again after this: meanwhile somebody may have made room on the disk.
const MEND_PAUSE: Duration = Duration::from_secs(60);
/// How long after a mending reports of damage may still be about the old file.
const STALE_REPORTS: Duration = Duration::from_secs(10);
/// A store that was closed after a failure of the disk is opened again after this, if no write does it before.
pub(super) const REOPEN_PAUSE: Duration = Duration::from_secs(5);

/// How often the files of the store are looked at while nothing is written.
const FILES_INTERVAL: Duration = Duration::from_secs(5);

impl Writer {
    /// Ends the node, once everybody is answered who has to be, if the files of the store were taken away under it.
    pub(super) fn look_at_files(&mut self, now: Now) {
        if self.failure.borrow().is_some() {
            return;
        }
        let at = now.uptime;
        if at < self.look_at_files && !self.ledger.is_displaced() {
            return;
        }
        self.look_at_files = at.after(FILES_INTERVAL);
        let checked = self.ledger.check_files().and_then(|()| self.ledger.check_log_content());
        if let Err(error) = checked {
            self.sessions.break_off(now);
            // A damaged file is mended.
            if self.ledger.is_displaced() {
                self.failure.send_replace(Some(error));
            } else {
                tracing::error!("{error}");
            }
        } else if self.ledger.was_overwritten() {
            self.distrust_file(now);
        }
    }

    /// Reads everything anew: what is remembered of the file may be that of another one.
    fn distrust_file(&mut self, now: Now) {
        tracing::warn!(
            "The file of the store was changed by a program that does not use SQLite, such as cp. Checking every record; what is \
             missing comes back from other nodes that have it. Stop p2p-sync before you restore a copy"
        );
        self.sessions.break_off(now);
        if let Err(error) = self.ledger.reopen() {
            tracing::error!("Cannot reopen the store: {error}");
        }
        // What was stored here before this was noticed has numbers that go on from those of the file that is gone.
        self.ledger.lose_cursors();
        self.checking.mended(Ok(0));
        self.checking.distrust(now.uptime);
        self.sessions.owe_all(now);
    }

    /// Rescues a damaged store, and opens a broken one again, for others may wait for its records even if nobody writes here.
    /// Sessions end, because what they compared is gone; everybody is owed another one.
    pub(super) fn mend(&mut self, now: Now) {
        if self.ledger.is_displaced() {
            return;
        }
        let damaged = self.ledger.is_damaged();
        let (tried, pause) = match damaged {
            true => (self.rescued, MEND_PAUSE),
            false if self.ledger.is_broken() => (self.reopened, REOPEN_PAUSE),
            false => return,
        };
        let at = now.uptime;
        if tried.is_some_and(|tried| at.saturating_since(tried) < pause) {
            return;
        }
        self.sessions.break_off(now);
        let mended = self.ledger.mend(&self.readers);
        if let Err(error) = &mended {
            tracing::error!("Cannot repair the store: {error}");
        }
        self.checking.mended(mended);
        self.sessions.owe_all(now);
        let tried = if damaged { &mut self.rescued } else { &mut self.reopened };
        *tried = Some(self.watch.uptime());
    }

    /// Everybody may have what was set aside.
    pub(super) fn heal(&mut self, now: Now) {
        let aside = self.ledger.take_set_aside();
        if aside > 0 {
            self.checking.set_aside(aside);
            self.sessions.owe_all(now);
        }
    }

    /// Makes some of the rows that another program added records. Others hear of them when all are.
    pub(super) fn complete(&mut self, now: Now) {
        match self.completing.step(&mut self.ledger, now.uptime) {
            Step::Nothing => {}
            Step::Some => self.sessions.changed(Via::Local, now),
            Step::Last => self.sessions.owe_all(now),
        }
    }

    /// What was refused for want of room may come once there is some.
    pub(super) fn find_room(&mut self, now: Now) {
        if self.ledger.find_room(now) {
            self.sessions.has_room_again(now);
        }
    }

    pub(super) fn on_links(&mut self, now: Now) {
        let links = self.streams.peers.borrow_and_update().clone();
        self.sessions.on_links(links, now);
    }

    /// A reader met damage. What was under way when the file was mended has met that of the old one.
    pub(super) fn note_damage(&mut self, now: Now) {
        let at = now.uptime;
        if self
            .rescued
            .is_none_or(|rescued| at.saturating_since(rescued) > STALE_REPORTS)
        {
            self.ledger.note_damage();
        }
    }

    pub(super) fn on_scanned(&mut self, scanned: ScanResult, now: Now) {
        if self.checking.end(scanned, &mut self.ledger, now.uptime) {
            self.sessions.owe_all(now);
        }
    }

    pub(super) fn status(&mut self, now: Now) -> SyncStatus {
        let ready = self.ledger.summary().is_some();
        let is_full = self.ledger.is_full(now);
        let refused = self.sessions.standings.refused().chain(self.ledger.refused());
        SyncStatus {
            ready,
            is_out_of_order: self.ledger.is_broken() || self.ledger.is_damaged(),
            is_full,
            peers: self.sessions.standings.all(now.uptime),
            refused: refused.map(|(cause, count)| (cause.to_owned(), count)).collect(),
            repaired: self.checking.repaired,
            completing: self.ledger.store().completing(),
            ..SyncStatus::default()
        }
    }
}
