//! Breaks the sync on purpose, in one place after another, and sees that its tests notice: a check that cannot fail is
//! decoration. Slow, since each break is compiled: `cargo test -p p2p-sync-core --test sync_breaks -- --ignored`;
//! `P2P_SYNC_BREAK=feed` tries those with that word in their description or file, `P2P_SYNC_BREAK_SHARE=3/8` those whose place
//! in the list leaves 3 when divided by 8.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One break: what goes wrong, in which file of `src`, which text, and what it becomes.
struct Break {
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const BREAKS: &[Break] = &[
    Break {
        what: "what is covered is held all the same",
        file: "versions.rs",
        from: "if self.0.iter().any(|held| held.covers(incoming)) {",
        to: "if false {",
    },
    Break {
        what: "what a new version covers is held on",
        file: "versions.rs",
        from: "self.0.retain(|held| !incoming.covers(held));",
        to: "",
    },
    Break {
        what: "the value is the version that came last",
        file: "versions.rs",
        from: "let place = self.0.partition_point(|held| held.precedence(incoming).is_lt());",
        to: "let place = self.0.len();",
    },
    Break {
        what: "more versions of a key are held than may be",
        file: "versions.rs",
        from: "self.0.drain(..excess);",
        to: "",
    },
    Break {
        what: "a version that was seen does not count as such",
        file: "record.rs",
        from: "Some(other.timestamp) <= self.seen.of(&other.author)",
        to: "Some(other.timestamp) < self.seen.of(&other.author)",
    },
    Break {
        what: "an author has not seen its own versions",
        file: "record.rs",
        from: "self.precedence(other) == Ordering::Greater",
        to: "false",
    },
    Break {
        what: "whoever writes forgets what others had seen",
        file: "seen.rs",
        from: "version.seen.others().iter().copied().chain([own])",
        to: "[own]",
    },
    Break {
        what: "whoever writes forgets up to where everything had been seen",
        file: "seen.rs",
        from: "let mut floor = held.iter().filter_map(|version| version.seen.floor).max();",
        to: "let mut floor = None;",
    },
    Break {
        what: "what is folded is forgotten",
        file: "seen.rs",
        from: "floor = floor.max(folded.first().map(|(_, timestamp)| *timestamp));",
        to: "",
    },
    Break {
        what: "what a folded floor overwrites is not counted",
        file: "versions.rs",
        from: "incoming.covers_by_folding(held) && !self.has_seen(held)",
        to: "false && incoming.covers_by_folding(held)",
    },
    Break {
        what: "what a folded floor keeps out is not counted",
        file: "versions.rs",
        from: "(!self.has_seen(incoming)).then(",
        to: "(false && !self.has_seen(incoming)).then(",
    },
    Break {
        what: "what was seen counts as folded",
        file: "record.rs",
        from: "&& !self.seen.names(&other.author)",
        to: "",
    },
    Break {
        what: "what overwrites everything older counts as folded",
        file: "record.rs",
        from: "&& self.seen.floor() != self.timestamp.previous()",
        to: "",
    },
    Break {
        what: "signatures of records are not verified",
        file: "membership/roster.rs",
        from: "SignedRecords::of(self.network()).verify_all(records)?;",
        to: "",
    },
    Break {
        what: "whoever may not write is admitted",
        file: "membership/roster.rs",
        from: "uncounted.not_permitted += 1;\n                false",
        to: "uncounted.not_permitted += 1;\n                true",
    },
    Break {
        what: "no list is asked which records of a removed device count",
        file: "membership/roster.rs",
        from: "Standing::MayNotWrite if self.is_kept(record) => Standing::Counts,",
        to: "",
    },
    Break {
        what: "a batch of signatures is taken for good",
        file: "membership/signing.rs",
        from: "claims => self.hold_together(claims),",
        to: "_ => true,",
    },
    Break {
        what: "a feed does not verify signatures",
        file: "sync/feed.rs",
        from: "let verified = signed.verify_all(&mut records);",
        to: "let verified = signed.verify_all(&mut []);",
    },
    Break {
        what: "a signature is verified for whatever record carries it",
        file: "signature.rs",
        from: "self.0.verified.as_ref() == Some(digest)",
        to: "self.0.verified.is_some() || digest.is_empty()",
    },
    Break {
        what: "whoever writes over a conflict has not seen it",
        file: "replica.rs",
        from: "Seen::by(&self.id, replaced.all())",
        to: "Seen::by(&self.id, replaced.winner().map(std::slice::from_ref).unwrap_or_default())",
    },
    Break {
        what: "of two versions of one instant none travels",
        file: "sync/plan.rs",
        from: "newest_of_mine >= newest_of_theirs",
        to: "newest_of_mine > newest_of_theirs",
    },
    Break {
        what: "of each key whoever has the older version sends",
        file: "sync/plan.rs",
        from: "newest_of_mine >= newest_of_theirs",
        to: "newest_of_mine <= newest_of_theirs",
    },
    Break {
        what: "what survived is not sent back",
        file: "sync/shared.rs",
        from: "self.shared.send_back(applied.survived)?;",
        to: "",
    },
    Break {
        what: "what survived is sent back to whoever had sent it",
        file: "sync/shared.rs",
        from: "filter(|item| !self.sent.contains(&item.key_hash()))",
        to: "filter(|_| true)",
    },
    Break {
        what: "whoever was made equal by what came back does not say so",
        file: "sync/asking/verdict.rs",
        from: "if current != turn.shared.told && current == theirs_now {",
        to: "if false {",
    },
    Break {
        what: "the last Check, which ends the session, is answered",
        file: "sync/answering.rs",
        from: "Frame::Check(state) if after_difference =>",
        to: "Frame::Check(state) if after_difference && false =>",
    },
    Break {
        what: "what is ahead of the receiver's clock is planned for",
        file: "sync/plan.rs",
        from: "partition(|nanos| *nanos <= horizon)",
        to: "partition(|_| true)",
    },
    Break {
        what: "what is ahead of our clock is taken in",
        file: "sync/shared.rs",
        from: "Admission::at(self.now).retain(&mut records).records",
        to: "0",
    },
    Break {
        what: "everything is called equal",
        file: "sync/asking/verdict.rs",
        from: "if after_all.digests.0 == after_all.digests.1 {",
        to: "if after_all.digests.0 == after_all.digests.1 || after == After::Exchange {",
    },
    Break {
        what: "the answering side keeps its records to itself",
        file: "sync/answering.rs",
        from: "        turn.shared.send_records(plan.send)?;\n",
        to: "",
    },
    Break {
        what: "the asking side keeps its records to itself",
        file: "sync/asking/transfer.rs",
        from: "        shared.send_records(plan.send)?;\n        let transfer = Transfer {\n            after,",
        to: "        let transfer = Transfer {\n            after,",
    },
    Break {
        what: "credit is never given back",
        file: "sync/credit.rs",
        from: "if self.taken_in.bytes * 2 < FULL.bytes",
        to: "if true || self.taken_in.bytes * 2 < FULL.bytes",
    },
    Break {
        what: "credit is not enforced",
        file: "sync/credit.rs",
        from: "left.ok_or(Violation(\"sends more than its credit allows\"))?;",
        to: "left.unwrap_or((FULL.bytes, FULL.records));",
    },
    Break {
        what: "a cursor is believed by what was told, whatever there was then",
        file: "sequence.rs",
        from: "(start..=end).contains(&cursor.seen) && cursor.number <= cursor.seen",
        to: "(start..=end).contains(&cursor.number)",
    },
    Break {
        what: "a run goes on in the epoch of the one before",
        file: "sequence.rs",
        from: "begins: self.drawn.map(|epoch| (epoch, self.last.saturating_add(1))),",
        to: "begins: self.drawn.filter(|_| self.broken).map(|epoch| (epoch, self.last.saturating_add(1))),",
    },
    Break {
        what: "numbers that another program used are used again",
        file: "sequence.rs",
        from: "self.taken = self.taken.max(self.in_use).checked_add(1)?;",
        to: "self.taken = self.taken.checked_add(1)?;",
    },
    Break {
        what: "cursors outlive what another program did",
        file: "sequence.rs",
        from: "        if saved.forgets {\n            self.epochs = Epochs::default();\n",
        to: "        if saved.forgets {\n",
    },
    Break {
        what: "a bulk starts from the beginning each time",
        file: "sync/shared.rs",
        from: "let after = if afresh {",
        to: "let after = if true {",
    },
    Break {
        what: "a bulk skips its position's neighbours",
        file: "sync/outbox.rs",
        from: "*after = reached;",
        to: "*after = reached.map(|reached| Cursor {\n        number: reached.number + 1,\n        ..reached\n    });",
    },
    Break {
        what: "a page of a bulk without records is taken for its end",
        file: "sync/outbox.rs",
        from: "if reached.is_none() {",
        to: "if records.is_empty() {",
    },
    Break {
        what: "cells are fetched but compared with those of our Hello's length",
        file: "sync/asking.rs",
        from: "store.summary().sketch().pieces(theirs.len())",
        to: "store.summary().sketch().pieces(64)",
    },
    Break {
        what: "cells of a later moment are sent as if they belonged to those before",
        file: "sync/answering.rs",
        from: "self.moment.replace(digest) == Some(digest)",
        to: "self.moment.replace(digest).is_some()",
    },
    Break {
        what: "cells of a later moment are added to those before",
        file: "sync/asking.rs",
        from: "if may_begin_anew && first == 0 {",
        to: "if false && may_begin_anew && first == 0 {",
    },
    Break {
        what: "cells that were not announced are awaited",
        file: "sync/asking.rs",
        from: "first != cells.len() || more.is_empty() || more.len() > wanted - cells.len()",
        to: "first != cells.len() || more.is_empty()",
    },
    Break {
        what: "no further cells are sent unasked",
        file: "sync/answering.rs",
        from: "let slot = turn.shared.slots.take_snapshot()?;",
        to: "let slot = turn.shared.slots.take_snapshot().filter(|_| false)?;",
    },
    Break {
        what: "the difference is estimated without the hints",
        file: "sketch.rs",
        from: "coarse * share <= HINT_VARIANCE_MAX",
        to: "false && coarse * share <= HINT_VARIANCE_MAX",
    },
    Break {
        what: "a bulk sends back what another one brings meanwhile",
        file: "sync/shared.rs",
        from: "if self.shared.bulk.is_some() {",
        to: "if false && self.shared.bulk.is_some() {",
    },
    Break {
        what: "a bulk does not catch up with what changes meanwhile",
        file: "sync/shared.rs",
        from: "if self.shared.bulk.is_some() {",
        to: "if true || self.shared.bulk.is_some() {",
    },
    Break {
        what: "fruitless rounds go on without the fallback",
        file: "sync/asking/verdict.rs",
        from: "        self.compare_ranges(turn)",
        to: "        say_delivered(turn.shared)",
    },
    Break {
        what: "a peer without room is asked on and on",
        file: "sync/asking/verdict.rs",
        from: "shared.report.left_some_out() || ",
        to: "",
    },
    Break {
        what: "a node without room answers on and on",
        file: "sync/answering.rs",
        from: "if !equal && shared.report.left_some_out() && !shared.report.told_full {",
        to: "if false {",
    },
    Break {
        what: "ranges are reconciled without a pause",
        file: "sync/slots.rs",
        from: "if began > 0 && since >= 0",
        to: "if false && since >= 0",
    },
    Break {
        what: "ranges wait for a clock that was set back",
        file: "sync/slots.rs",
        from: "if began > 0 && since >= 0",
        to: "if began > 0",
    },
    Break {
        what: "ranges that find nothing are answered without end",
        file: "sync/shared.rs",
        from: "self.range_messages <= SYNC_RANGE_MESSAGES_MIN",
        to: "0 <= SYNC_RANGE_MESSAGES_MIN",
    },
    Break {
        what: "ranges that moved nothing are allowed again at once",
        file: "sync/rights.rs",
        from: "            ranges.begin(SYNC_RANGES_PEER_PAUSE, at);\n",
        to: "",
    },
    Break {
        what: "whoever had to be cut off keeps all rights",
        file: "sync/rights.rs",
        from: "self.of(peer, at).all.begin(SYNC_DENIAL_MIN, at);",
        to: "let _ = self.of(peer, at);",
    },
    Break {
        what: "a slow session keeps its slot while others wait",
        file: "sync/slots/pool.rs",
        from: "holder.since > self.patience && waits(holder)",
        to: "false && holder.since > self.patience && waits(holder)",
    },
    Break {
        what: "a slow session is cut though nobody waits",
        file: "sync/slots/pool.rs",
        from: "others.count() > 0",
        to: "others.count() < usize::MAX",
    },
    Break {
        what: "a fast session counts as slow",
        file: "sync/slots/pool.rs",
        from: "(self.moved, self.since) = (Some(now), Duration::ZERO);",
        to: "self.moved = Some(now);",
    },
    Break {
        what: "nobody is told that there is a slot",
        file: "sync/slots/pool.rs",
        from: "looked.called.insert(one.asker.peer);",
        to: "",
    },
    Break {
        what: "a free slot goes to whoever comes first",
        file: "sync/slots/pool.rs",
        from: "filter(|waiting| !mine(waiting)).count();",
        to: "filter(|waiting| !mine(waiting)).count() * 0;",
    },
    Break {
        what: "a slot is kept for whoever was called and does not come",
        file: "sync/slots/pool.rs",
        from: "!missed && at",
        to: "(true || !missed) && at",
    },
    Break {
        what: "no place is kept for those that we dialled",
        file: "sync/slots/pool.rs",
        from: "self.holders.len() < self.places + self.kept",
        to: "self.holders.len() < self.places",
    },
    Break {
        what: "the kept place is anybody's",
        file: "sync/slots/pool.rs",
        from: "asker.is_some_and(|asker| asker.dialled)",
        to: "asker.is_some()",
    },
    Break {
        what: "a session that drips goes on",
        file: "sync/progress.rs",
        from: "answered && self.since <= patience &&",
        to: "answered && (true || self.since <= patience) &&",
    },
    Break {
        what: "an answer is waited for for ever",
        file: "sync/progress.rs",
        from: "moved.received > 0 || self.age <= SYNC_ANSWER_MAX",
        to: "true",
    },
    Break {
        what: "one session holds all copies of the sketch",
        file: "sync/answering.rs",
        from: "if shared.outbox.holds_cells() =>",
        to: "if false =>",
    },
    Break {
        what: "a peer orders as many keys as it likes",
        file: "sync/answering.rs",
        from: "if shared.outbox.keys() + keys.len() > SYNC_ORDERED_KEYS_MAX {",
        to: "if false {",
    },
    Break {
        what: "an overwritten record stays in the sketch",
        file: "summary.rs",
        from: "self.sketch.remove(old);",
        to: "",
    },
    Break {
        what: "an overwritten record stays in the set digest",
        file: "summary.rs",
        from: "self.digest.remove(old);",
        to: "",
    },
    Break {
        what: "a damaged summary is believed",
        file: "summary.rs",
        from: "if blake3::hash(content) != *checksum {",
        to: "if false {",
    },
    Break {
        what: "a cell passes for a single item without its check",
        file: "sketch/peeling.rs",
        from: "(check == cell.checks).then_some(mapping)",
        to: "(true || check == cell.checks).then_some(mapping)",
    },
    Break {
        what: "what is left after peeling is overlooked",
        file: "sketch/peeling.rs",
        from: "if self.cells.iter().any(",
        to: "if false && self.cells.iter().any(",
    },
    Break {
        what: "the mapping is another one",
        file: "sketch.rs",
        from: "(here as f64 + 1.5)",
        to: "(here as f64 + 1.4)",
    },
    Break {
        what: "the digest of the set is a plain XOR",
        file: "set_digest.rs",
        from: "u16::wrapping_add",
        to: "std::ops::BitXor::bitxor",
    },
    Break {
        what: "deletions travel as empty values",
        file: "sync/page.rs",
        from: "(DELETED, record.content == Content::Deleted),",
        to: "(DELETED, false),",
    },
    Break {
        what: "key hashes change their byte order",
        file: "sync/wire/bytes.rs",
        from: "w.fixed(&key.bits().to_le_bytes());",
        to: "w.fixed(&key.bits().to_be_bytes());",
    },
    Break {
        what: "frames of unknown kinds end the stream",
        file: "sync/wire/bytes.rs",
        from: "_ => return Ok(None),",
        to: "_ => return Err(InvalidFrame::Short),",
    },
    Break {
        what: "a page is sent before it is full",
        file: "sync/outbox.rs",
        from: "if !no_more_keys && !lookup.fills(limit) {",
        to: "if false {",
    },
    Break {
        what: "a session looks up without end",
        file: "sync/outbox.rs",
        from: "for _ in 0..SYNC_LOOKUPS_MAX {",
        to: "for _ in 0..usize::MAX {",
    },
    Break {
        what: "pauses do not grow",
        file: "sync/agenda/peer.rs",
        from: "(self.pause * 2)",
        to: "self.pause",
    },
    Break {
        what: "what is settled is looked at anew each time",
        file: "sync/agenda/peer.rs",
        from: "Some(waits) => Opening::Recheck(waits.settled),",
        to: "Some(_) => Opening::Check,",
    },
    Break {
        what: "a node opens as many sessions as it likes",
        file: "sync/agenda.rs",
        from: "due.truncate(self.places(at));",
        to: "due.truncate(usize::MAX);",
    },
    Break {
        what: "a session keeps its place for as long as it lasts",
        file: "sync/agenda.rs",
        from: "filter(|opened| opened.after(SYNC_FRESH_MAX) > at);",
        to: "filter(|_| true);",
    },
    Break {
        what: "whoever had a place for nothing gets it again at once",
        file: "sync/agenda.rs",
        from: "Some((peer.failed, peer.free_at()?, *id))",
        to: "Some((false, peer.free_at()?, *id))",
    },
    Break {
        what: "changes are passed back to where they came from",
        file: "sync/agenda.rs",
        from: "peer.untold |= *id != neighbour;",
        to: "peer.untold |= *id != neighbour || true;",
    },
    Break {
        what: "a session that compared an older moment stands for what came since",
        file: "sync/agenda/peer.rs",
        from: "(self.pause, self.waits) = (Duration::ZERO, None);",
        to: "(self.pause, self.waits, self.untold) = (Duration::ZERO, None, false);",
    },
    Break {
        what: "rounds follow each other without a pause",
        file: "sync/agenda.rs",
        from: "self.round_not_before = at.after(ROUND_INTERVAL);",
        to: "self.round_not_before = at;",
    },
    Break {
        what: "of two sessions both go on",
        file: "sync/agenda.rs",
        from: "if ours_goes_on => return Answer::Refuse,",
        to: "if ours_goes_on => return Answer::Accept,",
    },
    Break {
        what: "a feed sends more than its credit",
        file: "sync/feed.rs",
        from: "        self.credit.charge(&records);\n",
        to: "",
    },
];

/// Breaks of what leads to sessions, and of the feed, that the simulator must notice by itself.
const BREAKS_FOR_THE_SIMULATOR: &[Break] = &[
    Break {
        what: "writes below a folded floor are lost in silence",
        file: "record.rs",
        from: "&& self.seen.floor() != self.timestamp.previous()",
        to: "&& self.seen.floor() == self.timestamp.previous()",
    },
    Break {
        what: "new peers are not greeted",
        file: "sync/agenda.rs",
        from: "            entry.want(at.after(pause));\n",
        to: "            let _ = pause;\n",
    },
    Break {
        what: "what is owed is forgotten",
        file: "sync/agenda.rs",
        from: "peer.want(at.after(OWED_PAUSE));",
        to: "let _ = (peer, at);",
    },
    Break {
        what: "nobody is checked behind the last change",
        file: "sync/agenda.rs",
        from: "self.quiet = Some((at.after(pause), pause));",
        to: "let _ = pause;",
    },
    Break {
        what: "what came by a session is passed on to nobody",
        file: "sync/agenda.rs",
        from: "peer.untold |= *id != neighbour;",
        to: "peer.untold |= *id != neighbour && false;",
    },
    Break {
        what: "a round of checks leaves out all but eight peers",
        file: "sync/agenda.rs",
        from: "self.round = self.peers.values().any(untold).then_some(self.round_not_before);",
        to: "self.round = None;",
    },
    Break {
        what: "nobody is checked without a reason",
        file: "sync/agenda.rs",
        from: "        for id in picked {\n            self.want(id, at);\n",
        to: "        for id in picked {\n            let _ = id;\n",
    },
    Break {
        what: "what waits never falls due",
        file: "sync/agenda/peer.rs",
        from: "waits.falls_due <= now || waits.until <= at",
        to: "waits.until <= at",
    },
    Break {
        what: "the wall clock is not looked at",
        file: "sync/agenda.rs",
        from: "let clock = waits.then(|| self.asked.after(CLOCK_PAUSE));",
        to: "let clock = (waits && false).then(|| self.asked.after(CLOCK_PAUSE));",
    },
    Break {
        what: "a session that ended is taken to go on",
        file: "sync/agenda/peer.rs",
        from: "let Some(side) = self.under_way.take() else { return };",
        to: "let Some(side) = self.under_way else { return };",
    },
    Break {
        what: "a session that broke off is not followed by another",
        file: "sync/agenda/peer.rs",
        from: "        self.want(at.after(pause + turn));\n",
        to: "        let _ = (pause, turn);\n",
    },
    Break {
        what: "equals do not leave each other alone",
        file: "sync/agenda.rs",
        from: "const PERIODIC_PAUSE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(60)];",
        to: "const PERIODIC_PAUSE: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(6)];",
    },
    Break {
        what: "a feed loses records without a word",
        file: "sync/feed.rs",
        from: "return Err(TooSlow);",
        to: "return Ok(());",
    },
    Break {
        what: "a feed skips records",
        file: "sync/feed.rs",
        from: "records.extend(self.waiting.pop_front());",
        to: "records.extend(self.waiting.pop_front().filter(|record| record.timestamp.as_nanos() % 16 != 0));",
    },
    Break {
        what: "what a feed brings from ahead of our clock is taken in",
        file: "sync/feed.rs",
        from: "Admission::at(now).retain(&mut records)",
        to: "TooFarAhead::default()",
    },
];

/// A copy of this crate in a workspace of its own, so that breaking it breaks nothing.
fn copy_crate() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.parent().and_then(Path::parent).unwrap();
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sync_breaks");
    let _ = fs::remove_dir_all(copy.join("crates"));
    copy_directory(here, &copy.join("crates/core"));
    let manifest = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap();
    fs::write(
        copy.join("Cargo.toml"),
        manifest.replace(members, r#"members = ["crates/core"]"#),
    )
    .unwrap();
    fs::copy(workspace.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
    copy
}

/// Wrong folds, and wrong bounds, of the membership: only its simulator is asked.
const BREAKS_OF_MEMBERSHIP: &[Break] = &[
    Break {
        what: "what a removed admin said goes on to count, though its seniors do not accept it",
        file: "membership/fold.rs",
        from: "if let Some(by_seniors) = self.lowers.get(signer) {",
        to: "if let Some(by_seniors) = self.lowers.get(signer).filter(|_| false) {",
    },
    Break {
        what: "what a removed admin said goes on to count, though its equals do not accept it",
        file: "membership/fold.rs",
        from: "said.retain(|entry| accepted_by_all(by_equals, entry));",
        to: "let _ = (said, by_equals);",
    },
    Break {
        what: "one Lower that accepts an entry is enough",
        file: "membership/fold.rs",
        from: "lowers.iter().all(",
        to: "lowers.iter().any(",
    },
    Break {
        what: "of a mutual removal one side counts",
        file: "membership/fold.rs",
        from: "among_equals.values().flatten().for_each(",
        to: "among_equals.values().flatten().take(1).for_each(",
    },
    Break {
        what: "a junior lowers a senior",
        file: "membership/fold.rs",
        from: "is_none_or(|of| *of > rank)",
        to: "is_none_or(|_| true)",
    },
    Break {
        what: "admins of every rank make admins",
        file: "membership/fold.rs",
        from: "if *role < Role::Admin || rank <= 0 {",
        to: "if *role <= Role::Admin {",
    },
    Break {
        what: "a Grant returns what was taken",
        file: "membership/fold.rs",
        from: "Some(self.lowered.get(device).map_or(granted, |to| granted.min(*to)))",
        to: "Some(granted)",
    },
    Break {
        what: "whoever is made admin twice has the last rank",
        file: "membership/fold.rs",
        from: "*held = (*held).min(rank + 1);",
        to: "*held = rank + 1;",
    },
    Break {
        what: "nobody leaves",
        file: "membership/fold.rs",
        from: "fold.leaves(entries);",
        to: "",
    },
    Break {
        what: "a junior's Keep rules",
        file: "membership/fold.rs",
        from: "keeps.insert((rank, entry.id()));",
        to: "keeps.insert((0, entry.id()));",
    },
    Break {
        what: "what is not in the list counts",
        file: "membership/fold.rs",
        from: "is_none_or(|list| list.names(digest))",
        to: "is_none_or(|list| list.names(digest) || true)",
    },
    Break {
        what: "the entries that came first stay",
        file: "membership/set.rs",
        from: "return (*place < last).then(|| vec![last]);",
        to: "return (*place < last && false).then(|| vec![last]);",
    },
    Break {
        what: "strangers sign",
        file: "membership/set.rs",
        from: "None => false,",
        to: "None => true,",
    },
    Break {
        what: "whoever came in by a Grant that arrived late may sign nothing",
        file: "membership/set.rs",
        from: "self.grant_all_of(*device);",
        to: "",
    },
];

/// Mistakes in how members make each other equal.
const BREAKS_OF_THE_EXCHANGE: &[Break] = &[
    Break {
        what: "what they lack is not sent",
        file: "membership/exchange.rs",
        from: ".extend(ours.filter(|id| ids.binary_search(&id.short()).is_err()));",
        to: ".extend(ours.filter(|_| false));",
    },
    Break {
        what: "a difference is settled once for all",
        file: "membership/exchange.rs",
        from: "self.settled != Some(difference)",
        to: "self.settled.is_none()",
    },
    Break {
        what: "each page of ids is compared with all entries",
        file: "membership/exchange.rs",
        from: "self.reading_ids = if last { None } else { until.or(self.reading_ids) };",
        to: "",
    },
    Break {
        what: "the secret is sent to nobody",
        file: "membership/exchange.rs",
        from: "&& !theirs.has_secret",
        to: "&& theirs.has_secret",
    },
    Break {
        what: "a list of several parts is never whole",
        file: "membership/exchange.rs",
        from: "coming.asked = false;",
        to: "",
    },
];

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// How long one call of cargo may take, in seconds. A break may well make a test run for ever: then it is noticed.
const CARGO_SECONDS_MAX: &str = "300";

/// Whether this call of cargo succeeds in time.
fn cargo(copy: &Path, arguments: &[&str]) -> bool {
    // The coreutils' `timeout` ends the tests that cargo started, too.
    let status = Command::new("timeout")
        .args([CARGO_SECONDS_MAX, env!("CARGO")])
        .args(arguments)
        .args(["--offline", "-q", "-p", "p2p-sync-core"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"))
        // Enough to notice each; more would only take longer.
        .env("P2P_SYNC_SIM_SEEDS", "24")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

const SIMULATOR: &[&str] = &["test", "--test", "sync_simulator"];
const EXCHANGE: &[&str] = &["test", "--test", "membership_exchange"];
const MEMBERSHIP: &[&str] = &["test", "--test", "membership_simulator"];
/// The tests of the sync, the quick ones first.
const ALL: &[&[&str]] = &[
    &["test", "--lib"],
    &["test", "--test", "laws"],
    &["test", "--test", "folding"],
    &["test", "--test", "sync_wire"],
    &["test", "--test", "sync_laws"],
    &["test", "--test", "sync_hostile"],
    SIMULATOR,
    MEMBERSHIP,
    EXCHANGE,
];

/// The file to break, as it is and as it becomes.
fn broken(sources: &Path, one: &Break) -> (PathBuf, String, String) {
    let file = sources.join(one.file);
    let whole = fs::read_to_string(&file).unwrap();
    let found = whole.matches(one.from).count();
    assert_eq!(found, 1, "{}: the text to break is there once", one.what);
    let becomes = whole.replace(one.from, one.to);
    (file, whole, becomes)
}

/// Which share of how many is to be tried; all without a word.
fn share(text: &str) -> (usize, usize) {
    match text.split_once('/') {
        Some((rest, shares)) => (rest.parse().unwrap(), shares.parse().unwrap()),
        None => (0, 1),
    }
}

#[test]
fn every_break_still_has_its_place() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for one in BREAKS
        .iter()
        .chain(BREAKS_FOR_THE_SIMULATOR)
        .chain(BREAKS_OF_MEMBERSHIP)
        .chain(BREAKS_OF_THE_EXCHANGE)
    {
        broken(&sources, one);
    }
}

#[test]
#[ignore = "compiles the crate once for each break; .ci/run runs it"]
#[allow(clippy::disallowed_methods, reason = "which breaks to try is the caller's choice")]
fn every_break_is_noticed() {
    let only = std::env::var("P2P_SYNC_BREAK").unwrap_or_default();
    let (rest, shares) = share(&std::env::var("P2P_SYNC_BREAK_SHARE").unwrap_or_default());
    println!("share {rest} of {shares}");
    let copy = copy_crate();
    let passes = |tests: &[&[&str]]| tests.iter().all(|arguments| cargo(&copy, arguments));
    assert!(passes(ALL), "the tests pass while nothing is broken");
    let all = BREAKS.iter().map(|one| (one, ALL));
    let for_the_simulator = BREAKS_FOR_THE_SIMULATOR.iter().map(|one| (one, &[SIMULATOR][..]));
    let of_membership = BREAKS_OF_MEMBERSHIP.iter().map(|one| (one, &[MEMBERSHIP][..]));
    let of_the_exchange = BREAKS_OF_THE_EXCHANGE.iter().map(|one| (one, &[EXCHANGE][..]));
    let mut unnoticed = Vec::new();
    let wanted = |at: usize, one: &Break| at % shares == rest && (one.what.contains(&only) || one.file.contains(&only));
    let listed = all
        .chain(for_the_simulator)
        .chain(of_membership)
        .chain(of_the_exchange)
        .enumerate();
    for (_, (one, tests)) in listed.filter(|(at, (one, _))| wanted(*at, one)) {
        let (file, whole, becomes) = broken(&copy.join("crates/core/src"), one);
        fs::write(&file, becomes).unwrap();
        assert!(cargo(&copy, &["check", "--lib"]), "{}: compiles", one.what);
        let noticed = !passes(tests);
        println!("{} {}", if noticed { "noticed  " } else { "UNNOTICED" }, one.what);
        if !noticed {
            unnoticed.push(one.what);
        }
        fs::write(&file, whole).unwrap();
    }
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}
