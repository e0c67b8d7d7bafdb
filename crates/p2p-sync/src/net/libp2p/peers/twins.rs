//! Finds out whether another machine has this node's identity, as after its data directory was copied. Two such machines
//! never connect to each other: each mistakes the other for itself. What looks like a twin (an announcement of our id from
//! elsewhere, a dial that our id answers) may be an old announcement of ours or a loop back to ourselves. So a temporary
//! identity connects there: a machine that proves to have our key, but reports another run, is a twin.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::{Endpoint, Transport};
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts;
use libp2p::{Multiaddr, PeerId, SwarmBuilder, identify, noise, tcp, yamux};
use tokio::sync::mpsc;

use crate::net::libp2p::agent::boot_nonce;
use crate::net::libp2p::door::{self, Doors};
use crate::net::libp2p::listening::local_ips;
use crate::net::libp2p::multiaddrs::{ip, port};
use crate::net::libp2p::transport;
use crate::net::libp2p::transport::dial_errors::chain;
use crate::net::libp2p::transport::late_dials::Arrivals;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Addresses that are kept in mind. Whoever announces our id at more of them gets no attention.
const ADDRESSES_MAX: usize = 64;
/// How long an address is left alone at which nobody with our key answered.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// How long the addresses of this machine are taken for the same.
const LOCAL_FOR: Duration = Duration::from_secs(1);
/// How often a twin is looked at, to see whether it is still one.
const LOOK_AGAIN: Duration = Duration::from_secs(120);

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net::libp2p) enum Answer {
    /// This very process.
    Ourselves,
    /// Another one with the same identity.
    Twin,
    /// Nobody with that identity.
    Nobody,
}

/// What came of a question.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Answered {
    pub(in crate::net::libp2p) address: Multiaddr,
    pub(in crate::net::libp2p) answer: Answer,
}

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspect {
    /// It is to be asked.
    Due,
    /// It was asked, and was no twin; signs of one count again from then on.
    Quiet { until: Instant },
    /// It is a twin, and is to be asked again then.
    Twin { look_at: Instant },
}

/// The addresses at which our identity seems to be.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Twins {
    own: PeerId,
    nonce: u64,
    port: u16,
    /// In a private network, those are asked who come through its door.
    doors: Option<Doors>,
    suspects: HashMap<Multiaddr, Suspect>,
    /// The addresses of this machine, and when they were asked for.
    local: Mutex<Option<(Instant, Vec<IpAddr>)>>,
    /// One question is asked at a time.
    is_asking: bool,
    tell: mpsc::Sender<Answered>,
    pub(in crate::net::libp2p) told: mpsc::Receiver<Answered>,
}

impl Twins {
    /// This run of a node has this id and nonce, and listens at this port.
    pub(in crate::net::libp2p) fn new(own: PeerId, nonce: u64, port: u16) -> Self {
        let (tell, told) = mpsc::channel(1);
        Self {
            own,
            nonce,
            port,
            doors: None,
            suspects: HashMap::new(),
            local: Mutex::default(),
            is_asking: false,
            tell,
            told,
        }
    }

    /// The same, in a private network if there are doors.
    pub(in crate::net::libp2p) fn with_doors(self, doors: Option<Doors>) -> Self {
        Self { doors, ..self }
    }

    /// The port at which this node listens.
    pub(in crate::net::libp2p) fn port(&self) -> u16 {
        self.port
    }

    /// Whether this process itself listens there.
    pub(in crate::net::libp2p) fn is_ours(&self, address: &Multiaddr) -> bool {
        port(address) == Some(self.port) && ip(address).is_some_and(|ip| self.is_local(ip))
    }

    /// Whether an interface of this machine has that address. Anybody can announce our id at any number of addresses, so the
    /// operating system is not asked for each.
    pub(in crate::net::libp2p) fn is_local(&self, ip: IpAddr) -> bool {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |asked: &Instant| asked.elapsed() >= LOCAL_FOR;
        if local.as_ref().is_none_or(|(asked, _)| is_old(asked)) {
            *local = Some((Instant::now(), local_ips()));
        }
        ip.is_loopback() || local.as_ref().is_some_and(|(_, ips)| ips.contains(&ip))
    }

    /// Our identity seems to be at an address that is not ours.
    pub(in crate::net::libp2p) fn suspect(&mut self, address: Multiaddr, now: Instant) {
        let is_over = |suspect: &Suspect| matches!(suspect, Suspect::Quiet { until } if *until <= now);
        if !self.suspects.contains_key(&address) && self.suspects.len() >= ADDRESSES_MAX {
            self.suspects.retain(|_, suspect| !is_over(suspect));
        }
        let is_full = self.suspects.len() >= ADDRESSES_MAX;
        match self.suspects.get_mut(&address) {
            Some(known) if is_over(known) => *known = Suspect::Due,
            None if !is_full => drop(self.suspects.insert(address, Suspect::Due)),
            _ => {}
        }
    }

    /// Asks at the next address at which it is time for that. What comes of it is [told](Self::told).
    pub(in crate::net::libp2p) fn ask_due(&mut self, now: Instant) {
        if self.is_asking {
            return;
        }
        let is_new = |suspect: &Suspect| *suspect == Suspect::Due;
        let is_old = |suspect: &Suspect| matches!(suspect, Suspect::Twin { look_at } if *look_at <= now);
        let find = |wanted: &dyn Fn(&Suspect) -> bool| {
            let mut found = self.suspects.iter().filter(|(_, suspect)| wanted(suspect));
            found.next().map(|(address, _)| address.clone())
        };
        let Some(address) = find(&is_new).or_else(|| find(&is_old)) else {
            return;
        };
        self.is_asking = true;
        let (own, nonce, tell, doors) = (self.own, self.nonce, self.tell.clone(), self.doors.clone());
        tokio::spawn(async move {
            let answer = match doors {
                Some(doors) => ask_at_door(address.clone(), doors).await,
                None => ask(&address, own, nonce).await,
            };
            // There is room: this is the only question. Nobody may be there any more.
            let _ = tell.send(Answered { address, answer }).await;
        });
    }

    /// Takes note of an answer.
    pub(in crate::net::libp2p) fn answered(&mut self, answered: &Answered, now: Instant) {
        self.is_asking = false;
        let suspect = match answered.answer {
            Answer::Twin => Suspect::Twin {
                look_at: now + LOOK_AGAIN,
            },
            Answer::Nobody => Suspect::Quiet { until: now + ASK_AGAIN },
            Answer::Ourselves => Suspect::Quiet {
                until: now + LOOK_AGAIN,
            },
        };
        self.suspects.insert(answered.address.clone(), suspect);
    }
}

/// Asks whoever is at an address for its identity and run, under a name of its own: our own would be taken for a loop.
async fn ask(address: &Multiaddr, own: PeerId, nonce: u64) -> Answer {
    tokio::time::timeout(ANSWER_WITHIN, hear(address, own))
        .await
        .ok()
        .flatten()
        .map_or(Answer::Nobody, |run| match run {
            Some(run) if run == nonce => Answer::Ourselves,
            _ => Answer::Twin,
        })
}

/// Asks whoever comes through the door of our private network: there, each run has a key of its own anyway.
async fn ask_at_door(address: Multiaddr, doors: Doors) -> Answer {
    let key = doors.key.clone();
    let transport = transport::build(
        &key,
        Arc::default(),
        mpsc::channel(1).0,
        Arrivals::default(),
        Some(doors),
    );
    let options = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let Ok(mut transport) = transport else {
        return Answer::Nobody;
    };
    let Ok(dial) = transport.dial(address, options) else {
        return Answer::Nobody;
    };
    tokio::select! {
        made = dial => match made {
            Ok((peer, _)) if peer == key.public().to_peer_id() => Answer::Ourselves,
            Err(error) if chain(&error).any(door::is_twin) => Answer::Twin,
            _ => Answer::Nobody,
        },
        // It does something only when somebody looks at it; it listens nowhere.
        () = transport.for_each(|_| std::future::ready(())) => Answer::Nobody,
    }
}

/// The run of the node at an address, if it has that identity and says so.
async fn hear(address: &Multiaddr, expected: PeerId) -> Option<Option<u64>> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .ok()?
        .with_quic()
        .with_behaviour(|key| {
            let config = identify::Config::new("/p2p-sync/1".to_owned(), key.public());
            identify::Behaviour::new(config)
        })
        .ok()?
        .build();
    let dial = dial_opts::DialOpts::peer_id(expected)
        .addresses(vec![address.clone()])
        .build();
    swarm.dial(dial).ok()?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(identify::Event::Received { info, .. }) => {
                return Some(boot_nonce(&info.agent_version));
            }
            SwarmEvent::OutgoingConnectionError { .. } | SwarmEvent::ConnectionClosed { .. } => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn address(number: usize) -> Multiaddr {
        format!("/ip4/192.0.2.{}/tcp/{number}", number % 250).parse().unwrap()
    }

    #[tokio::test]
    async fn one_question_is_asked_at_a_time_and_a_twin_is_looked_at_again() {
        let now = Instant::now();
        let mut twins = Twins::new(PeerId::random(), 1, 4002);
        twins.suspect(address(1), now);
        twins.ask_due(now);
        assert!(twins.is_asking);
        let answered = |answer| Answered {
            address: address(1),
            answer,
        };
        twins.answered(&answered(Answer::Nobody), now);
        twins.suspect(address(1), now + ASK_AGAIN / 2);
        assert_ne!(twins.suspects[&address(1)], Suspect::Due, "too soon");
        twins.suspect(address(1), now + ASK_AGAIN);
        assert_eq!(twins.suspects[&address(1)], Suspect::Due);
        twins.answered(&answered(Answer::Twin), now);
        twins.ask_due(now + LOOK_AGAIN / 2);
        assert!(!twins.is_asking);
        twins.ask_due(now + LOOK_AGAIN);
        assert!(twins.is_asking);
    }

    #[test]
    fn no_more_addresses_are_kept_than_there_is_room_for() {
        let now = Instant::now();
        let mut twins = Twins::new(PeerId::random(), 1, 4002);
        for number in 0..2 * ADDRESSES_MAX {
            twins.suspect(address(number), now);
        }
        assert_eq!(twins.suspects.len(), ADDRESSES_MAX);
        let answer = Answer::Nobody;
        twins.answered(
            &Answered {
                address: address(0),
                answer,
            },
            now,
        );
        twins.suspect(address(999), now + ASK_AGAIN);
        assert!(twins.suspects.contains_key(&address(999)), "one of no use made room");
    }

    #[test]
    fn our_own_addresses_are_those_of_this_machine_at_our_port() {
        let twins = Twins::new(PeerId::random(), 1, 4002);
        for (text, ours) in [
            ("/ip4/127.0.0.1/tcp/4002", true),
            ("/ip4/127.0.0.1/udp/4002/quic-v1", true),
            ("/ip4/127.0.0.1/tcp/4003", false),
            ("/ip4/192.0.2.1/tcp/4002", false),
        ] {
            assert_eq!(twins.is_ours(&text.parse().unwrap()), ours, "{text}");
        }
    }
}
