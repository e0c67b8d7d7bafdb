//! A network of replicas in one thread and in virtual time, all of it drawn from one seed: clocks that are wrong and
//! step, messages that are lost, repeated and late, processes that die between write and commit. Nothing here depends
//! on the machine, so a seed that failed once fails for ever.
//!
//! Four oracles watch: all replicas end equal; they hold what a model holds that heard every write; no version of any key at any
//! replica ever goes down; and whatever was written is held at the end, or was there, by the world's own account and not by what
//! versions say, when something was written that is held. The first alone is not enough: replicas can agree on having lost a write.

mod parts;
pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use p2p_sync_core::gate::{Arrival, Gate, Verdict};
use p2p_sync_core::limits::PACED_MESSAGES_MAX;
use p2p_sync_core::message::{decode, encode};
use p2p_sync_core::pacer::{Pace, Pacer};
use p2p_sync_core::store::{MemoryStore, Store, Transaction};
use p2p_sync_core::{Content, Key, NodeId, Record, Timestamp, Uptime, Versions};

use crate::support::{Random, held, key, node, put};
pub(crate) use parts::Outcome;
use parts::{Event, Failure, Host, Message, Process, Weather};
use rules::{Rules, rank};

/// How long nodes write, in virtual time. Longer than the windows of the limits.
const WRITING_MILLIS: u64 = 150_000;
/// When that begins by a clock that is right: 2025-01-04T08:30:15Z.
const START_NANOS: i64 = 1_735_979_415_000_000_000;

type Rank = (Timestamp, NodeId, [u8; 32]);

struct World<'a, R> {
    start: &'a dyn Fn(NodeId, Option<Timestamp>) -> R,
    random: Random,
    weather: Weather,
    keys: Vec<Key>,
    hosts: Vec<Host<R>>,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    now: u64,
    written: Vec<Record>,
    /// What was there, of the same key, when a version was written.
    histories: BTreeMap<Rank, BTreeSet<Rank>>,
    outcome: Outcome,
    story: Option<Vec<String>>,
}

/// Runs the network of one seed, with the rules that `start` gives to each process.
pub(crate) fn run<R: Rules>(seed: u64, start: impl Fn(NodeId, Option<Timestamp>) -> R) -> Result<Outcome, Failure> {
    // The story costs time, so it is written only once it is known to be worth telling.
    World::new(seed, &start, false)
        .run()
        .or_else(|_| World::new(seed, &start, true).run())
}

impl<'a, R: Rules> World<'a, R> {
    fn new(seed: u64, start: &'a dyn Fn(NodeId, Option<Timestamp>) -> R, tell: bool) -> Self {
        let mut random = Random::new(seed);
        let weather = Weather::draw(&mut random);
        let keys = ["a", "b", "c", "d"][..1 + random.below(4)]
            .iter()
            .map(|text| key(text))
            .collect();
        let hosts = 2 + random.below(7);
        let mut world = Self {
            start,
            random,
            weather,
            keys,
            hosts: Vec::new(),
            events: BTreeMap::new(),
            scheduled: 0,
            now: 0,
            written: Vec::new(),
            histories: BTreeMap::new(),
            outcome: Outcome::default(),
            story: tell.then(Vec::new),
        };
        for number in 0..hosts {
            let skew_millis = world.draw_skew();
            let id = node(u8::try_from(number).unwrap());
            world.hosts.push(Host {
                id,
                store: MemoryStore::new(),
                skew_millis,
                process: None,
            });
            world.boot(number);
        }
        for _ in 0..10 + world.random.below(50) {
            let (node, at) = (world.random.below(hosts), world.draw_time());
            world.schedule(at, Event::Write { node });
        }
        if world.random.percent(30) {
            // A burst of more than a node may gossip at once.
            let (node, at) = (world.random.below(hosts), world.draw_time());
            (0..PACED_MESSAGES_MAX).for_each(|_| world.schedule(at, Event::Write { node }));
        }
        for _ in 0..world.random.below(4) {
            let (node, at) = (world.random.below(hosts), world.draw_time());
            world.schedule(at, Event::StepWall { node });
            let (node, at) = (world.random.below(hosts), world.draw_time());
            world.schedule(at, Event::Doom { node });
        }
        world
    }

    fn run(mut self) -> Result<Outcome, Failure> {
        let result = self.live().and_then(|()| self.settle());
        match result {
            Ok(()) => Ok(self.outcome),
            Err(what) => Err(Failure {
                what,
                story: self.story.unwrap_or_default(),
            }),
        }
    }

    /// Everything until no event is left.
    fn live(&mut self) -> Result<(), String> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            match event {
                Event::Write { node } => self.write(node)?,
                Event::Pace { node, started } => self.pace(node, started),
                Event::Arrive { to, message, neighbour } => self.arrive(to, &message, neighbour)?,
                Event::Restart { node } => self.boot(node),
                Event::Doom { node } => {
                    if let Some(process) = &mut self.hosts[node].process {
                        process.doomed = true;
                    }
                }
                Event::StepWall { node } => {
                    let skew = self.draw_skew();
                    self.outcome.steps_back += usize::from(skew < self.hosts[node].skew_millis);
                    self.hosts[node].skew_millis = skew;
                    self.tell(|| format!("the wall clock of {node} is now wrong by {skew} ms"));
                }
            }
        }
        Ok(())
    }

    /// Brings everything that was acknowledged to everybody, in an order of each one's own, and compares.
    fn settle(&mut self) -> Result<(), String> {
        let model: Vec<_> = held(&self.written).into_values().flatten().collect();
        let mut arrived = Vec::new();
        for record in &self.written {
            let message = encode(std::slice::from_ref(record));
            let changes = decode(&message).map_err(|error| format!("{record:?} cannot be sent: {error}"))?;
            arrived.extend(changes.into_iter().map(|change| change.by(record.author)));
        }
        for number in 0..self.hosts.len() {
            self.random.shuffle(&mut arrived);
            self.receive(number, &arrived)?;
        }
        let mut held = self
            .hosts
            .iter()
            .map(|host| host.store.all().cloned().collect::<Vec<_>>());
        let first = held.next().unwrap_or_default();
        if let Some(other) = held.find(|other| *other != first) {
            return Err(format!("two replicas end different:\n{first:?}\n{other:?}"));
        }
        if first != model {
            return Err(format!(
                "all replicas lost what was written:\n{first:?}\nthe model holds\n{model:?}"
            ));
        }
        self.nothing_is_lost_in_silence(&first)?;
        self.outcome.conflicts = first.len() - self.keys_held(&first);
        let stamps: Vec<_> = self
            .written
            .iter()
            .map(|record| (&record.key, record.timestamp))
            .collect();
        self.outcome.ties = stamps.len() - stamps.iter().collect::<BTreeSet<_>>().len();
        self.outcome.writes = self.written.len();
        self.outcome.held = model;
        Ok(())
    }

    fn keys_held(&self, held: &[Record]) -> usize {
        held.iter().map(|version| &version.key).collect::<BTreeSet<_>>().len()
    }

    /// The fourth oracle.
    fn nothing_is_lost_in_silence(&self, held: &[Record]) -> Result<(), String> {
        let accounted: BTreeSet<_> = held
            .iter()
            .map(rank)
            .chain(
                held.iter()
                    .filter_map(|version| self.histories.get(&rank(version)))
                    .flatten()
                    .copied(),
            )
            .collect();
        match self.written.iter().find(|version| !accounted.contains(&rank(version))) {
            Some(lost) => Err(format!("nobody who overwrote this had it: {lost:?}")),
            None => Ok(()),
        }
    }

    /// Notes what was there when something was written, and what was there when that was written, and so on.
    fn note_history(&mut self, written: &Record, held: &Versions) {
        let mut history = BTreeSet::new();
        for version in held.all() {
            history.insert(rank(version));
            history.extend(self.histories.get(&rank(version)).into_iter().flatten().copied());
        }
        self.histories.insert(rank(written), history);
    }

    fn write(&mut self, node: usize) -> Result<(), String> {
        let key = self.random.pick(&self.keys).clone();
        let content = if self.random.percent(30) {
            Content::Deleted
        } else {
            put(&self.random.bytes(2))
        };
        let before_commit = self.random.percent(50);
        let wall = self.wall(node);
        let host = &mut self.hosts[node];
        let Some(process) = &mut host.process else {
            return Ok(());
        };
        let dies = std::mem::take(&mut process.doomed);
        let held = host.store.versions(&key).unwrap();
        let mut transaction = host.store.begin().unwrap();
        let record = process.rules.write(&mut transaction, key, content, wall);
        if dies && before_commit {
            drop(transaction);
            self.outcome.unacknowledged += 1;
            self.kill(node);
            return Ok(());
        }
        transaction.commit().unwrap();
        let Some(record) = record else { return Ok(()) };
        let (now, started) = (self.now, process.started);
        // What does not fit is left to the end, like everything that is lost.
        let queued = process.pacer.push(record.clone()).is_ok();
        self.tell(|| format!("{node} writes {record:?}"));
        self.written.push(record.clone());
        self.note_history(&record, &held);
        self.went_up(node, held.winner(), &record.key)?;
        if dies {
            self.kill(node);
        } else if queued {
            self.schedule(now, Event::Pace { node, started });
        }
        Ok(())
    }

    fn pace(&mut self, node: usize, started: u64) {
        let (now, wall) = (self.now, self.wall(node));
        let host = &mut self.hosts[node];
        let Some(process) = host.process.as_mut().filter(|process| process.started == started) else {
            return;
        };
        match process.pacer.next(Uptime(Duration::from_millis(now - started))) {
            Pace::Idle => {}
            // The simulator counts in milliseconds: the first that is not too early.
            Pace::Wait(until) => {
                let at = started + u64::try_from(until.0.as_nanos().div_ceil(1_000_000)).unwrap();
                self.schedule(at, Event::Pace { node, started });
            }
            Pace::Publish(records) => {
                process.sequence = (process.sequence + 1).max(wall.as_nanos().unsigned_abs());
                let message = Message {
                    author: host.id,
                    sequence: process.sequence,
                    data: encode(&records),
                };
                self.outcome.batches += usize::from(records.len() > 1);
                self.publish(node, &Rc::new(message));
                self.schedule(now, Event::Pace { node, started });
            }
        }
    }

    fn publish(&mut self, from: usize, message: &Rc<Message>) {
        for to in (0..self.hosts.len()).filter(|to| *to != from) {
            if self.random.percent(self.weather.loss_percent) {
                self.outcome.lost += 1;
                continue;
            }
            let mut neighbour = from;
            loop {
                let at = self.now + 1 + u64::try_from(self.random.below(self.weather.delay_max_millis)).unwrap();
                self.schedule(
                    at,
                    Event::Arrive {
                        to,
                        message: Rc::clone(message),
                        neighbour,
                    },
                );
                if !self.random.percent(self.weather.repeat_percent) {
                    break;
                }
                self.outcome.repeated += 1;
                neighbour = self.random.below(self.hosts.len());
            }
        }
    }

    fn arrive(&mut self, to: usize, message: &Message, neighbour: usize) -> Result<(), String> {
        let (now, wall, neighbour) = (self.now, self.wall(to), self.hosts[neighbour].id);
        let Some(process) = &mut self.hosts[to].process else {
            return Ok(());
        };
        let uptime = Uptime(Duration::from_millis(now - process.started));
        let Message {
            author,
            sequence,
            ref data,
        } = *message;
        let arrival = Arrival {
            author,
            neighbour,
            sequence: Some(sequence),
            data,
        };
        match process.gate.judge(arrival, wall, uptime) {
            Verdict::Accept(records) => {
                let changed = self.receive(to, &records)?;
                if let Some(process) = self.hosts[to].process.as_mut().filter(|_| !changed) {
                    process.gate.changed_nothing(author, neighbour, uptime);
                }
            }
            Verdict::Ignore(refusal) => {
                self.outcome.refused += 1;
                self.tell(|| format!("{to} ignores a message: {refusal}"));
            }
            Verdict::Reject(refusal) => return Err(format!("{to} rejects what an honest node sent: {refusal}")),
        }
        Ok(())
    }

    /// Merges records at one node, and says whether any of them changed anything there.
    fn receive(&mut self, node: usize, records: &[Record]) -> Result<bool, String> {
        let mut changed = false;
        for record in records {
            let host = &mut self.hosts[node];
            let Some(process) = &mut host.process else {
                return Ok(changed);
            };
            let held = host.store.get(&record.key).unwrap();
            let mut transaction = host.store.begin().unwrap();
            changed |= process.rules.receive(&mut transaction, record);
            transaction.commit().unwrap();
            self.tell(|| format!("{node} receives {record:?}"));
            self.went_up(node, held.as_ref(), &record.key)?;
        }
        Ok(changed)
    }

    /// The third oracle.
    fn went_up(&mut self, node: usize, before: Option<&Record>, key: &Key) -> Result<(), String> {
        let after = self.hosts[node].store.get(key).unwrap();
        if before.map(rank) > after.as_ref().map(rank) {
            return Err(format!("a version at {node} went down from\n{before:?} to\n{after:?}"));
        }
        Ok(())
    }

    fn boot(&mut self, node: usize) {
        let sequence = self.wall(node).as_nanos().unsigned_abs();
        let host = &mut self.hosts[node];
        let rules = (self.start)(host.id, host.store.last_timestamp().unwrap());
        let gate = Gate::new(self.weather.limits.clone());
        host.process = Some(Process {
            rules,
            gate,
            pacer: Pacer::new(),
            sequence,
            started: self.now,
            doomed: false,
        });
    }

    fn kill(&mut self, node: usize) {
        self.hosts[node].process = None;
        self.outcome.restarts += 1;
        let at = self.now + 1 + u64::try_from(self.random.below(30_000)).unwrap();
        self.schedule(at, Event::Restart { node });
        self.tell(|| format!("{node} dies"));
    }

    fn wall(&self, node: usize) -> Timestamp {
        let millis = i64::try_from(self.now).unwrap() + self.hosts[node].skew_millis;
        let shown = millis.div_euclid(self.weather.tick_millis) * self.weather.tick_millis;
        Timestamp::from_nanos(START_NANOS + shown * 1_000_000).unwrap()
    }

    fn draw_skew(&mut self) -> i64 {
        let most = self.weather.skew_max_millis;
        i64::try_from(self.random.below(2 * most)).unwrap() - i64::try_from(most).unwrap()
    }

    fn draw_time(&mut self) -> u64 {
        self.random.bits() % WRITING_MILLIS
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>7} ms  {}", self.now, line()));
        }
    }
}
