//! What was heard about other nodes, with limits that hold whatever is sent: per source, in all, and in time. When the
//! table is full, a random entry is replaced (chance is an argument, like time): so a flood can crowd out a node for a
//! moment, but none for good.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::entry::{ADDRESSES_TOLD_MAX, Entry, Told};
use super::ours::Ours;
use super::wire::Piece;

/// Instances that are held at once, each counted by the source that tells of it.
const INSTANCES_MAX: usize = 1_024;
/// Instances that one source may tell of: a router that repeats the multicast of another segment speaks for many.
const INSTANCES_PER_SOURCE_MAX: usize = 256;
/// New instances that one source may tell of at once, and each second after that.
const NEW_BURST: f64 = 256.0;
const NEW_PER_SECOND: f64 = 8.0;
/// Sources whose new instances are counted.
const SOURCES_MAX: usize = 1_024;
/// How long an instance is held after it was heard of, whatever the sender says.
const LIFETIME_MAX: Duration = Duration::from_secs(120);
/// How long one is held that says goodbye: others may have heard it, and save it.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often what is missing of one instance is asked for.
const ASKED_MAX: u8 = 3;
/// Instances that are asked for in one packet.
const NAMES_MAX: usize = 16;

/// What is to be told of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// It is announced at these addresses and ports, by all sources together; those from which it spoke itself come first.
    Announced { peer: PeerId, places: Vec<(IpAddr, u16)> },
    /// Nobody announces it any more.
    Gone { peer: PeerId },
}

/// What to ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) instances: Vec<String>,
    pub(super) hosts: Vec<String>,
}

/// How many new instances a source may still tell of.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

/// All that was heard.
pub(super) struct Table {
    ours: Ours,
    entries: Vec<Entry>,
    allowances: HashMap<IpAddr, Allowance>,
    chance: Box<dyn FnMut(usize) -> usize + Send>,
}

impl Table {
    /// `chance` gives a number below its argument, which is never 0.
    pub(super) fn new(ours: impl Into<Ours>, chance: impl FnMut(usize) -> usize + Send + 'static) -> Self {
        Self {
            ours: ours.into(),
            entries: Vec::new(),
            allowances: HashMap::new(),
            chance: Box::new(chance),
        }
    }

    /// Takes in what a packet says.
    pub(super) fn hear(&mut self, source: IpAddr, pieces: Vec<Piece>, now: Instant) -> Vec<News> {
        let mut news = Vec::new();
        let mut touched = HashSet::new();
        let (addresses, others): (Vec<Piece>, Vec<Piece>) = pieces
            .into_iter()
            .partition(|piece| matches!(piece, Piece::Address { .. }));
        for piece in others {
            self.hear_of_instance(source, piece, now, &mut touched, &mut news);
        }
        self.hear_of_addresses(source, addresses, &mut touched);
        let peers: HashSet<PeerId> = self
            .entries
            .iter()
            .filter(|entry| entry.source == source && touched.contains(&entry.instance))
            .filter(|entry| entry.is_due(now))
            .filter_map(Entry::peer)
            .collect();
        news.extend(peers.into_iter().filter_map(|peer| self.announced(peer, now)));
        news
    }

    fn hear_of_instance(
        &mut self,
        source: IpAddr,
        piece: Piece,
        now: Instant,
        touched: &mut HashSet<String>,
        news: &mut Vec<News>,
    ) {
        let (instance, ttl_s) = match &piece {
            Piece::Instance { instance, ttl_s }
            | Piece::Place { instance, ttl_s, .. }
            | Piece::Text { instance, ttl_s, .. } => (instance.clone(), *ttl_s),
            Piece::Address { .. } => return,
        };
        let known = self.find(source, &instance);
        if ttl_s == 0 {
            // What takes back another one's text only makes it ask.
            if let (Some(entry), Piece::Instance { .. } | Piece::Place { .. }) = (known, &piece) {
                entry.lifetime = now.saturating_duration_since(entry.heard) + GOODBYE;
            }
            return;
        }
        if known.is_none() && !self.insert(source, &instance, now, news) {
            return;
        }
        let ours = self.ours.clone();
        let Some(entry) = self.find(source, &instance) else {
            return;
        };
        let is_first = touched.insert(instance);
        let lifetime = Duration::from_secs(ttl_s.into()).min(LIFETIME_MAX);
        entry.lifetime = if is_first {
            lifetime
        } else {
            entry.lifetime.min(lifetime)
        };
        if entry.is_complete() {
            entry.asked = 0;
        }
        entry.heard = now;
        match piece {
            Piece::Place { host, port, .. } => {
                let place = Some((host, port));
                if entry
                    .place
                    .as_ref()
                    .is_some_and(|(host, _)| Some(host) != place.as_ref().map(|(host, _)| host))
                {
                    entry.addresses.clear();
                }
                entry.changed |= entry.place != place;
                entry.place = place;
            }
            Piece::Text { said, .. } => entry.said = Some(said),
            Piece::Instance { .. } | Piece::Address { .. } => return,
        }
        // Who it is may depend on both.
        let text = entry
            .said
            .as_ref()
            .and_then(|said| ours.peer(said, entry.place.as_ref()));
        let (was, told) = (entry.peer().filter(|was| text != Some(Some(*was))), entry.told);
        entry.changed |= entry.text != text;
        entry.text = text;
        if let (Some(was), Some(_)) = (was, told) {
            entry.told = None;
            news.extend(self.lost(was, now));
        }
    }

    /// Goes through the instances once, however many addresses are told: a packet has room for hundreds, of a host on which hundreds
    /// of instances claim to be.
    fn hear_of_addresses(&mut self, source: IpAddr, pieces: Vec<Piece>, touched: &mut HashSet<String>) {
        let mut by_host: HashMap<String, Vec<Told>> = HashMap::new();
        for piece in pieces {
            let Piece::Address {
                host,
                address,
                ttl_s,
                flushes,
            } = piece
            else {
                continue;
            };
            let of_host = by_host.entry(host).or_default();
            if of_host.len() < ADDRESSES_TOLD_MAX {
                of_host.push(Told {
                    address,
                    is_over: ttl_s == 0,
                    flushes,
                });
            }
        }
        if by_host.is_empty() {
            return;
        }
        for entry in self.entries.iter_mut().filter(|entry| entry.source == source) {
            let told = entry.place.as_ref().and_then(|(host, _)| by_host.get(host));
            if let Some(told) = told {
                entry.take_addresses(told);
                touched.insert(entry.instance.clone());
            }
        }
    }

    fn find(&mut self, source: IpAddr, instance: &str) -> Option<&mut Entry> {
        let mut all = self.entries.iter_mut();
        all.find(|entry| entry.source == source && entry.instance == instance)
    }

    /// Makes room for one more, if its source may tell of one more.
    fn insert(&mut self, source: IpAddr, instance: &str, now: Instant, news: &mut Vec<News>) -> bool {
        if !self.allows(source, now) {
            return false;
        }
        let of_source: Vec<usize> = (0..self.entries.len())
            .filter(|index| self.entries.get(*index).is_some_and(|entry| entry.source == source))
            .collect();
        let victim = if of_source.len() >= INSTANCES_PER_SOURCE_MAX {
            of_source.get((self.chance)(of_source.len())).copied()
        } else if self.entries.len() >= INSTANCES_MAX {
            Some((self.chance)(self.entries.len()))
        } else {
            None
        };
        if let Some(victim) = victim.filter(|index| *index < self.entries.len()) {
            let removed = self.entries.remove(victim);
            news.extend(self.after_removal(&removed, now));
        }
        self.entries.push(Entry {
            source,
            instance: instance.to_owned(),
            place: None,
            said: None,
            text: None,
            addresses: Vec::new(),
            heard: now,
            lifetime: LIFETIME_MAX,
            asked: 0,
            told: None,
            again: false,
            changed: true,
        });
        true
    }

    fn allows(&mut self, source: IpAddr, now: Instant) -> bool {
        if !self.allowances.contains_key(&source) && self.allowances.len() >= SOURCES_MAX {
            let victim = (self.chance)(self.allowances.len());
            if let Some(other) = self.allowances.keys().nth(victim).copied() {
                self.allowances.remove(&other);
            }
        }
        let fresh = Allowance {
            left: NEW_BURST,
            at: now,
        };
        let allowance = self.allowances.entry(source).or_insert(fresh);
        let since = now.saturating_duration_since(allowance.at).as_secs_f64();
        allowance.left = (allowance.left + since * NEW_PER_SECOND).min(NEW_BURST);
        allowance.at = now;
        let allows = allowance.left >= 1.0;
        if allows {
            allowance.left -= 1.0;
        }
        allows
    }

    /// What is to be told when time has passed: changes that had to wait, and who was not heard of for too long.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<News> {
        let is_over = |entry: &Entry| now.saturating_duration_since(entry.heard) >= entry.lifetime;
        let (over, kept) = std::mem::take(&mut self.entries).into_iter().partition(is_over);
        self.entries = kept;
        let over: Vec<Entry> = over;
        let mut news: Vec<News> = over.iter().filter_map(|entry| self.after_removal(entry, now)).collect();
        let waiting: HashSet<PeerId> = self
            .entries
            .iter()
            .filter(|entry| entry.changed && entry.is_due(now))
            .filter_map(Entry::peer)
            .collect();
        news.extend(waiting.into_iter().filter_map(|peer| self.announced(peer, now)));
        news
    }

    /// Whoever is still there is to be told again when it answers.
    pub(super) fn tell_again(&mut self) {
        for entry in &mut self.entries {
            entry.again = true;
        }
    }

    fn after_removal(&mut self, removed: &Entry, now: Instant) -> Option<News> {
        removed.told?;
        self.lost(removed.peer()?, now)
    }

    /// One of those that announced a peer does not any more.
    fn lost(&mut self, peer: PeerId, now: Instant) -> Option<News> {
        if self
            .entries
            .iter()
            .any(|entry| entry.peer() == Some(peer) && entry.is_complete())
        {
            return self.announced(peer, now);
        }
        Some(News::Gone { peer })
    }

    /// Where a peer is announced, by all sources. That is the truth as far as it is known: whoever lies about one address does not
    /// make the others forgotten.
    fn announced(&mut self, peer: PeerId, now: Instant) -> Option<News> {
        let mut places = Vec::new();
        let complete = |entry: &&mut Entry| entry.peer() == Some(peer) && entry.is_complete();
        for entry in self.entries.iter_mut().filter(complete) {
            let Some((_, port)) = entry.place else { continue };
            let spoke = |address: &IpAddr| *address == entry.source;
            places.extend(entry.addresses.iter().map(|address| (!spoke(address), *address, port)));
            entry.told = Some(now);
            entry.again = false;
            entry.changed = false;
        }
        places.sort();
        let mut seen = HashSet::new();
        let places: Vec<(IpAddr, u16)> = places
            .into_iter()
            .map(|(_, address, port)| (address, port))
            .filter(|place| seen.insert(*place))
            .collect();
        (!places.is_empty()).then_some(News::Announced { peer, places })
    }

    /// Instances that need not answer when all are asked: those that were heard of lately.
    pub(super) fn known(&self, now: Instant) -> impl Iterator<Item = &str> {
        let fresh = move |entry: &&Entry| {
            entry.is_complete() && now.saturating_duration_since(entry.heard) < entry.lifetime / 2
        };
        let mut seen = HashSet::new();
        self.entries
            .iter()
            .filter(fresh)
            .map(|entry| entry.instance.as_str())
            .filter(move |instance| seen.insert(*instance))
    }

    /// How many instances are held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a question from this source that lists these instances does for one of ours: all of them are known here too, and so
    /// is the asker, which does not answer itself.
    pub(super) fn is_served(&self, source: IpAddr, listed: &[String], now: Instant) -> bool {
        let known: HashSet<&str> = self.known(now).collect();
        let is_asker = |entry: &Entry| entry.source == source && known.contains(entry.instance.as_str());
        self.entries.iter().any(is_asker) && listed.iter().all(|instance| known.contains(instance.as_str()))
    }

    /// What to ask for now, the newest first: what is not known, and what was not heard of for so long that it would soon be
    /// forgotten. Each is asked for a few times.
    pub(super) fn take_missing(&mut self, now: Instant) -> Missing {
        let mut missing = Missing::default();
        let is_old = |entry: &Entry| now.saturating_duration_since(entry.heard) >= entry.lifetime * 7 / 8;
        // One that is still heard of in another way is not forgotten.
        let fresh = self
            .entries
            .iter()
            .filter(|entry| entry.is_complete() && !is_old(entry));
        let fresh: HashSet<String> = fresh.map(|entry| entry.instance.clone()).collect();
        let is_fading = |entry: &Entry| is_old(entry) && !fresh.contains(&entry.instance);
        let incomplete = |entry: &&mut Entry| {
            // Who is somebody else need not say where it is.
            entry.asked < ASKED_MAX && entry.text != Some(None) && (!entry.is_complete() || is_fading(entry))
        };
        for entry in self.entries.iter_mut().rev().filter(incomplete).take(NAMES_MAX) {
            entry.asked += 1;
            match &entry.place {
                Some((host, _)) if entry.text.is_some() && entry.addresses.is_empty() => {
                    missing.hosts.push(host.clone())
                }
                Some(_) if entry.is_complete() => missing.instances.push(entry.instance.clone()),
                Some((host, _)) => {
                    missing.instances.push(entry.instance.clone());
                    missing.hosts.push(host.clone());
                }
                None => missing.instances.push(entry.instance.clone()),
            }
        }
        missing
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
