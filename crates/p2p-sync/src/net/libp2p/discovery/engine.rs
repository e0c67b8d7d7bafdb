//! The discovery task: it keeps the sockets open, queries, answers, and passes on what it hears. It runs separately from
//! the swarm, so that a flood of packets affects nothing else.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::answers::Answers;
use super::asking::{Asking, SERVES_FOR, SERVES_SEARCH_FOR};
use super::ours::Sealing;
use super::sockets::{self, Arrived, Failure, Family, Link, Open, Place, Way, What};
use super::table::Table;
use super::wire::{self, Message, OwnNames, Purpose};
use super::{Event, Facts, addresses};
use crate::net::libp2p::peers::subnets::Subnets;
use crate::throttle::Throttle;

/// Packets that wait to be looked at.
const ARRIVED_MAX: usize = 64;
/// How long the copy of an own question may take to come back: the group is heard by those who speak to it, too.
const ECHO_WITHIN: Duration = Duration::from_millis(500);
/// How often it is told that a socket has failed.
const WARNING_INTERVAL: Duration = Duration::from_secs(600);
/// How often the interfaces, the sockets, and what was heard are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What the behaviour asks of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Ask now, and often for a while: a peer was lost. Whether it was the last one.
    Search { is_alone: bool },
    /// There is no hurry any more.
    Relax,
    /// Take the announcement back, and end.
    Withdraw(oneshot::Sender<()>),
}

/// Another node asked for what we would ask for.
#[derive(Debug, Clone, Copy)]
struct Served {
    at: Instant,
    /// Everybody was to answer.
    is_full: bool,
}

impl Served {
    /// Whether the answers do for a question of ours now.
    fn serves(self, is_search: bool, now: Instant) -> bool {
        let ago = now.saturating_duration_since(self.at);
        if is_search {
            self.is_full && ago < SERVES_SEARCH_FOR
        } else {
            ago < SERVES_FOR
        }
    }
}

/// The task's end of what ties it to the behaviour.
pub(super) struct Ends {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) facts: watch::Sender<Facts>,
}

pub(super) struct Engine {
    names: Arc<OwnNames>,
    /// What makes the names in a private network.
    sealing: Option<Sealing>,
    ends: Ends,
    arrived: mpsc::Receiver<Arrived>,
    to_us: mpsc::Sender<Arrived>,
    links: Vec<Link>,
    subnets: Subnets,
    open: BTreeMap<Place, Open>,
    /// Why the others are not open; each reason is logged once.
    failures: HashMap<Place, Failure>,
    table: Table,
    asking: Asking,
    /// Where a question of ours went out whose copy has not come back, and when.
    asked: BTreeMap<Place, Instant>,
    /// Where another node asked for everybody, and for whom we miss, and when.
    served: BTreeMap<Place, Served>,
    answers: Answers,
    next_tick: Instant,
    /// When it was told last that a socket has failed.
    warnings: Throttle<Instant>,
}

impl Engine {
    pub(super) fn new(names: OwnNames, sealing: Option<Sealing>, table: Table, ends: Ends) -> Self {
        let (to_us, arrived) = mpsc::channel(ARRIVED_MAX);
        let now = Instant::now();
        Self {
            names: Arc::new(names),
            sealing,
            ends,
            arrived,
            to_us,
            links: Vec::new(),
            subnets: Subnets::default(),
            open: BTreeMap::new(),
            failures: HashMap::new(),
            table,
            asking: Asking::new(now),
            asked: BTreeMap::new(),
            served: BTreeMap::new(),
            answers: Answers::new(|below| rand::random_range(Duration::ZERO..below)),
            next_tick: now,
            warnings: Throttle::once(WARNING_INTERVAL),
        }
    }

    /// Runs until it is told to withdraw, or nobody is there to hear it.
    pub(super) async fn run(mut self) {
        self.links = sockets::links();
        self.subnets = Subnets::of_this_machine();
        loop {
            let now = Instant::now();
            let events = self.work_off(now);
            tell(&self.ends.events, events).await;
            let wake = [Some(self.next_tick), Some(self.asking.next()), self.answers.next()];
            let wake = wake.into_iter().flatten().min().unwrap_or(self.next_tick);
            tokio::select! {
                command = self.ends.commands.recv() => match command {
                    Some(Command::Search { is_alone }) => self.asking.lost(is_alone, Instant::now()),
                    Some(Command::Relax) => self.asking.relax(Instant::now()),
                    Some(Command::Withdraw(done)) => {
                        self.send_all(Purpose::Withdraw);
                        drop(done);
                        return;
                    }
                    None => return,
                },
                Some(arrived) = self.arrived.recv() => {
                    let events = self.on_arrived(arrived, Instant::now());
                    tell(&self.ends.events, events).await;
                }
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    /// Does what is due.
    fn work_off(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            if self.look_at_links(now) {
                events.push(Event::InterfacesChanged);
            }
            if let Some(names) = self.sealing.as_mut().and_then(Sealing::renewed) {
                self.names = Arc::new(names);
                self.open.keys().for_each(|place| self.answers.announce(*place, now));
            }
            let missing = self.table.take_missing(now);
            let (instances, hosts) = (missing.instances.iter(), missing.hosts.iter());
            if let Some(packet) = wire::resolve(instances.map(String::as_str), hosts.map(String::as_str)) {
                self.open.values().for_each(|socket| socket.multicast(&packet));
            }
            let news = self.table.tick(now);
            events.extend(news.into_iter().filter_map(addresses::event));
        }
        if self.asking.next() <= now {
            self.ask(now);
        }
        for (place, all_services) in self.answers.take_due(now) {
            self.respond(place, all_services, Purpose::Announce);
        }
        events
    }

    /// Asks for everybody, where no other node has just done so.
    fn ask(&mut self, now: Instant) {
        let is_missing = self.asking.asked(now, rand::random());
        if is_missing {
            self.table.tell_again();
        }
        // Who is missed may be among those that are thought to be known: then everybody answers.
        let known: Vec<&str> = if is_missing {
            Vec::new()
        } else {
            self.table.known(now).collect()
        };
        let Some(packet) = wire::browse(known.into_iter()) else {
            return;
        };
        self.asked.clear();
        for (place, socket) in &self.open {
            let is_served = self
                .served
                .get(place)
                .is_some_and(|served| served.serves(is_missing, now));
            if !is_served && (is_missing || !self.is_second_way(*place)) {
                socket.multicast(&packet);
                self.asked.insert(*place, now);
            }
        }
    }

    /// Whether nobody can be dialled at what this place is about and the other family of the same interface is not.
    fn is_second_way(&self, place: Place) -> bool {
        let link = self.links.iter().find(|link| link.index == place.index);
        let is_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        place.family == Family::V6
            && link.is_some_and(|link| {
                let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = link.addresses.iter().partition(|ip| ip.is_ipv4());
                !v4.is_empty() && v6.into_iter().all(is_local)
            })
    }

    /// Opens what can be opened, closes what is gone, and says so. Returns whether an interface has changed.
    fn look_at_links(&mut self, now: Instant) -> bool {
        let links = sockets::links();
        let has_changed = links != self.links;
        if has_changed {
            self.subnets = Subnets::of_this_machine();
        }
        let unchanged = |place: &Place| {
            let of = |all: &[Link]| all.iter().find(|link| link.index == place.index).cloned();
            of(&links)
                .is_some_and(|link| of(&self.links).as_ref() == Some(&link) && link.places().any(|one| one == *place))
        };
        self.open.retain(|place, _| unchanged(place));
        self.links = links;
        let mut failures = HashMap::new();
        for link in &self.links {
            for place in link.places() {
                if self.open.contains_key(&place) {
                    continue;
                }
                match Open::new(place, link, &self.names, &self.to_us) {
                    Ok(socket) => {
                        self.open.insert(place, socket);
                        self.answers.announce(place, now);
                        self.asking.search(now);
                    }
                    Err(failure) => drop(failures.insert(place, failure)),
                }
            }
        }
        self.answers.keep(|place| self.open.contains_key(place));
        self.served.retain(|place, _| self.open.contains_key(place));
        self.note_failures(failures);
        has_changed
    }

    fn note_failures(&mut self, failures: HashMap<Place, Failure>) {
        let taken = |all: &HashMap<Place, Failure>| all.values().any(|one| matches!(one, Failure::PortTaken(_)));
        match (taken(&self.failures), taken(&failures)) {
            (false, true) => {
                let reason = failures.values().find(|one| matches!(one, Failure::PortTaken(_)));
                tracing::warn!(
                    "another program holds UDP port {} (multicast DNS) and does not share it ({}): this node may not \
                     find others on the LAN, nor be found. Stop that program, or name the other nodes with --peer. \
                     This node retries every second",
                    sockets::PORT,
                    reason.map_or("", Failure::reason),
                );
            }
            (true, false) => tracing::info!("UDP port {} is free; looking for other nodes again", sockets::PORT),
            _ => {}
        }
        for (place, failure) in &failures {
            if matches!(failure, Failure::Other(_)) && self.failures.get(place) != Some(failure) {
                // Much of this is no fault: interfaces without multicast, a machine without IPv6.
                tracing::debug!("discovery: no multicast on interface {place:?}: {}", failure.reason());
            }
        }
        if self.open.is_empty() && !failures.is_empty() && !taken(&failures) && self.failures.is_empty() {
            let reason = failures.values().next().map_or("", Failure::reason);
            tracing::warn!(
                "cannot look for other nodes on the LAN: multicast DNS (UDP port {}) does not work on any interface: \
                 {reason}. This node retries every second; until it works, name the other nodes with --peer",
                sockets::PORT
            );
        }
        self.failures = failures;
        self.note_facts();
    }

    fn note_facts(&self) {
        let taken = |one: &&Failure| matches!(one, Failure::PortTaken(_));
        let failure = self.failures.values().find(taken);
        // An interface without multicast is no failure while others have it.
        let failure = failure.or(self.failures.values().next().filter(|_| self.open.is_empty()));
        let facts = Facts {
            failure: failure.map(|failure| failure.reason().to_owned()),
            ..self.ends.facts.borrow().clone()
        };
        self.ends.facts.send_replace(facts);
    }

    fn on_arrived(&mut self, arrived: Arrived, now: Instant) -> Vec<Event> {
        let Arrived { place, what } = arrived;
        match what {
            What::Failed(error) => {
                // One that fails again and again is not told each time.
                if self.warnings.allows(now) {
                    tracing::warn!(
                        "multicast DNS (UDP port {}) failed on one interface: {error}. Reopening it",
                        sockets::PORT
                    );
                }
                self.open.remove(&place);
                Vec::new()
            }
            What::Other { from, way } => {
                self.note_heard(from.ip(), way, now);
                Vec::new()
            }
            What::Message { from, way, message } => {
                self.note_heard(from.ip(), way, now);
                // What comes from beyond a router may be anybody's (RFC 6762, sections 5.5 and 11).
                if way == Way::Direct && !self.subnets.contain(from.ip()) {
                    return Vec::new();
                }
                match message {
                    Message::Query(query) => {
                        if self.is_echo(place, from, now) {
                            return Vec::new();
                        }
                        if from.port() != sockets::PORT {
                            self.answer_legacy(place, from, &query, now);
                            return Vec::new();
                        }
                        if query.browses && way == Way::Group && self.table.is_served(from.ip(), &query.listed, now) {
                            let is_full = query.listed.is_empty() && !query.knows_more;
                            self.served.insert(place, Served { at: now, is_full });
                        }
                        if query.wants_us {
                            self.answers.asked(place, &query, self.table.len(), now);
                        }
                        Vec::new()
                    }
                    // A program without rights on this machine or another can send from any port but this one (section 6).
                    Message::Response(_) if from.port() != sockets::PORT => Vec::new(),
                    Message::Response(pieces) => {
                        let news = self.table.hear(from.ip(), pieces, now);
                        news.into_iter().filter_map(addresses::event).collect()
                    }
                }
            }
        }
    }

    fn note_heard(&self, from: IpAddr, way: Way, now: Instant) {
        if way == Way::Group && !self.is_own(from) {
            self.ends.facts.send_modify(|facts| facts.heard = Some(now));
        }
    }

    /// Whether a question is the copy of one of ours. Another node on this machine has the same address; which of two questions at
    /// the same moment is answered makes no difference.
    fn is_echo(&mut self, place: Place, from: SocketAddr, now: Instant) -> bool {
        let is_ours = from.port() == sockets::PORT && self.is_own(from.ip());
        let asked = if is_ours { self.asked.remove(&place) } else { None };
        asked.is_some_and(|at| now.saturating_duration_since(at) < ECHO_WITHIN)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.links.iter().any(|link| link.addresses.contains(&address))
    }

    fn addresses_of(&self, place: Place) -> Vec<IpAddr> {
        let link = self.links.iter().find(|link| link.index == place.index);
        link.map(Link::ips).unwrap_or_default()
    }

    fn respond(&self, place: Place, all_services: bool, purpose: Purpose) {
        if let Some(socket) = self.open.get(&place)
            && let Some(packet) = self.names.response(&self.addresses_of(place), all_services, purpose)
        {
            socket.multicast(&packet);
        }
    }

    fn send_all(&self, purpose: Purpose) {
        for place in self.open.keys() {
            self.respond(*place, false, purpose);
        }
    }

    /// Answers a resolver that knows nothing of multicast, at its own address; only on this link, and not often, for whoever lies
    /// about its address makes the answer go elsewhere.
    fn answer_legacy(&mut self, place: Place, from: SocketAddr, query: &wire::Query, now: Instant) {
        if query.wants_us
            && self.subnets.contain(from.ip())
            && self.answers.allows_legacy(now)
            && let Some(socket) = self.open.get(&place)
            && let Some(packet) = self.names.legacy_response(query, &self.addresses_of(place))
        {
            socket.send(&packet, from);
        }
    }
}

/// Waits while the swarm has no time: what comes in meanwhile is lost, as it may be anyway.
async fn tell(swarm: &mpsc::Sender<Event>, events: Vec<Event>) {
    for event in events {
        // A swarm that is saying goodbye listens no more.
        let _ = swarm.send(event).await;
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;

    /// One that nobody asks or hears. Needs a runtime.
    fn engine() -> Engine {
        let ends = Ends {
            commands: mpsc::channel(1).1,
            events: mpsc::channel(1).0,
            facts: watch::channel(Facts::default()).0,
        };
        let names = OwnNames::new("test-abcd", &PeerId::random(), "0011223344556677", 4002);
        Engine::new(names, None, Table::new(String::new(), |_| 0), ends)
    }

    #[tokio::test]
    async fn a_socket_that_fails_is_opened_anew_and_speaks_again() {
        let mut engine = engine();
        let now = Instant::now();
        engine.look_at_links(now);
        let places: Vec<Place> = engine.open.keys().copied().collect();
        let place = *places.first().expect("every machine has a loopback");
        // What was to be said has been said.
        engine.answers.take_due(now + TICK * 2);
        let failed = Arrived {
            place,
            what: What::Failed(std::io::ErrorKind::NotConnected.into()),
        };
        engine.on_arrived(failed, now);
        assert!(!engine.open.contains_key(&place));
        engine.look_at_links(now);
        assert_eq!(engine.open.keys().copied().collect::<Vec<_>>(), places);
        assert_eq!(engine.answers.take_due(now), [(place, false)]);
        assert!(engine.asking.next() <= now + TICK);
    }

    /// Whether a question is answered that somebody asks then.
    fn is_answered(engine: &mut Engine, place: Place, at: Instant, address: IpAddr) -> bool {
        let message = Message::Query(wire::tests::browsing());
        let (from, way) = (SocketAddr::new(address, sockets::PORT), Way::Group);
        let what = What::Message { from, way, message };
        engine.on_arrived(Arrived { place, what }, at);
        !engine.answers.take_due(at + TICK).is_empty()
    }

    #[tokio::test]
    async fn it_does_not_answer_itself_but_others_on_this_machine() {
        let mut engine = engine();
        let now = Instant::now();
        engine.look_at_links(now);
        let (place, address) = engine
            .links
            .iter()
            .find_map(|link| Some((link.places().next()?, *link.addresses.first()?)))
            .expect("every machine has a loopback");
        // What was to be said at the start has been said.
        engine.work_off(now + TICK * 2);
        let later = now + TICK * 4;
        let other: IpAddr = "192.0.2.1".parse().expect("an address");
        assert!(is_answered(&mut engine, place, later, other));
        assert!(
            is_answered(&mut engine, place, later + TICK * 2, address),
            "nothing of ours is under way"
        );
        engine.asked.insert(place, later + TICK * 4);
        assert!(
            !is_answered(&mut engine, place, later + TICK * 4, address),
            "the copy of our own"
        );
        assert!(
            is_answered(&mut engine, place, later + TICK * 6, address),
            "another node here"
        );
    }

    #[tokio::test]
    async fn where_another_node_has_just_asked_it_does_not_unless_it_searches() {
        let mut engine = engine();
        let now = Instant::now();
        engine.look_at_links(now);
        let place = *engine.open.keys().next().expect("every machine has a loopback");
        engine.asking.relax(now);
        engine.ask(now);
        assert!(engine.asked.contains_key(&place));
        let served = Served {
            at: now,
            is_full: false,
        };
        engine.served.insert(place, served);
        engine.ask(now + SERVES_FOR / 2);
        assert!(!engine.asked.contains_key(&place));
        engine.ask(now + SERVES_FOR);
        assert!(engine.asked.contains_key(&place), "that was long ago");
        engine.asking.search(now + SERVES_FOR);
        engine.served.insert(
            place,
            Served {
                at: now + SERVES_FOR,
                ..served
            },
        );
        engine.ask(now + SERVES_FOR);
        assert!(engine.asked.contains_key(&place), "not everybody was to answer that");
    }

    #[tokio::test]
    async fn of_an_interface_that_is_gone_nothing_is_kept() {
        let mut engine = engine();
        let now = Instant::now();
        let gone = Place {
            index: u32::MAX,
            family: sockets::Family::V4,
        };
        engine.answers.announce(gone, now);
        engine.look_at_links(now);
        let due = engine.answers.take_due(now + TICK * 2);
        assert!(
            !due.is_empty() && due.iter().all(|(place, _)| *place != gone),
            "{due:?}"
        );
    }
}
