//! Looks at what is around a node, for whoever wants to know why it does not sync: what multicast does, who answers, whether the
//! peers and this node get through to each other, and how the clocks of the others are set. It takes some seconds, and the
//! network does nothing of this by itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use p2p_sync_core::NodeId;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use super::{Node, NodeError};
use crate::net::libp2p::{knock_near, survey};
use crate::net::{Knock, Knocks, Survey, Surveyed, SurveyedNode, ToPeers, Told};
use crate::report::{Closed, Interface, MulticastWay, NodeOnLan, PeerClock, Status, Surroundings, Way, Ways};

/// The version of the announcements that this program understands.
const VERSION: &str = "1";
/// Peers that are asked and tried: those that are not connected first.
const PEERS_MAX: usize = 24;
/// Addresses of one peer that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long a peer that is asked to knock here is waited for.
const ASK_PATIENCE: Duration = Duration::from_millis(3_200);
/// How long a comparison with the peers is waited for, so that what is told of them is new.
const COMPARE_PATIENCE: Duration = Duration::from_millis(2_500);

/// What a node knows for looking around.
#[derive(Debug)]
pub(super) struct Looking {
    lan: bool,
    is_running: bool,
    closed: Closed,
    /// One looks at a time; what was found last.
    turn: Mutex<Option<(Status, Surroundings)>>,
}

impl Looking {
    /// `lan`: it may look around on the LAN. `is_running`: it is more than a command on the store.
    pub(super) fn new(lan: bool, is_running: bool, closed: Closed) -> Self {
        Self {
            lan,
            is_running,
            closed,
            turn: Mutex::new(None),
        }
    }
}

impl Node {
    /// Compares with the peers, and looks around, for at most five seconds. Whoever asks meanwhile gets what is
    /// found then.
    ///
    /// # Errors
    /// When the store cannot be read, or the node has stopped.
    pub(crate) async fn examine(&self) -> Result<(Status, Surroundings), NodeError> {
        let looking = &self.inner.looking;
        let mut turn = match looking.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => {
                let turn = looking.turn.lock().await;
                if let Some(found) = &*turn {
                    return Ok(found.clone());
                }
                turn
            }
        };
        let connected = self.peers().await?;
        let connected: Vec<NodeId> = connected.iter().filter_map(|peer| peer.peer_id.parse().ok()).collect();
        let asked = connected.iter().take(PEERS_MAX).map(|peer| self.ask_back(*peer));
        let surveyed = async {
            match looking.lan {
                true => survey().await,
                false => Survey::default(),
            }
        };
        let (survey, told, _) = tokio::join!(surveyed, join_all(asked), timeout(COMPARE_PATIENCE, self.sync()));
        let told: BTreeMap<NodeId, Told> = told.into_iter().flatten().collect();
        let ways = self.ways(&connected, &survey, &told).await;
        let status = self.status().await?;
        let names = &self.inner.names;
        let surroundings = Surroundings {
            running: looking.is_running,
            closed: looking.closed,
            looked_around: looking.lan,
            interfaces: interfaces(&survey),
            heard_others: survey.heard_others,
            responders: survey.responders.iter().map(ToString::to_string).collect(),
            port_5353: survey.holders.clone(),
            nodes: self.nodes(&survey),
            ways,
            clocks: clocks(&status, &told, |peer| names.called(peer).display),
        };
        *turn = Some((status.clone(), surroundings.clone()));
        Ok((status, surroundings))
    }

    async fn ask_back(&self, peer: NodeId) -> Option<(NodeId, Told)> {
        let (reply, answer) = oneshot::channel();
        self.inner.to_peers.send(ToPeers::AskBack { peer, reply }).await.ok()?;
        let told = timeout(ASK_PATIENCE, answer).await.ok()?.ok()?;
        Some((peer, told))
    }

    /// Knocks at the ports of the peers that are on the LAN.
    async fn ways(&self, connected: &[NodeId], survey: &Survey, told: &BTreeMap<NodeId, Told>) -> Vec<Ways> {
        let mut places: BTreeMap<NodeId, Vec<(IpAddr, u16)>> = BTreeMap::new();
        let tag = self.inner.network.tag();
        let is_ours = |node: &&SurveyedNode| node.network_tag == tag && node.version == VERSION && !node.is_here;
        for node in survey.nodes.iter().filter(is_ours) {
            if let Some(peer) = node.peer.filter(|peer| *peer != self.inner.id) {
                places.entry(peer).or_default().extend(&node.listens);
            }
        }
        for (peer, told) in told {
            places.entry(*peer).or_default().insert(0, (told.address, told.port));
        }
        let mut places: Vec<(NodeId, Vec<(IpAddr, u16)>)> = places.into_iter().collect();
        places.sort_by_key(|(peer, _)| connected.contains(peer));
        let tried = places.into_iter().take(PEERS_MAX).map(async |(peer, mut places)| {
            places.dedup();
            places.truncate(ADDRESSES_MAX);
            let knocks = join_all(places.iter().map(|(ip, port)| knock_near(*ip, *port))).await;
            let back = told.get(&peer).map_or(Knocks::NONE, |told| told.knocks);
            let at = places.iter().map(|(ip, port)| format!("{ip} port {port}"));
            Ways {
                peer_id: peer.to_string(),
                display_name: self.called(peer, survey),
                at: at.collect::<Vec<_>>().join(", "),
                connected: connected.contains(&peer),
                tcp_to: best(knocks.iter().map(|knocks| knocks.tcp)),
                udp_to: best(knocks.iter().map(|knocks| knocks.udp)),
                tcp_from: way(back.tcp),
                udp_from: way(back.udp),
            }
        });
        join_all(tried).await
    }

    /// How people see a peer; by the name of its announcement if it was never connected.
    fn called(&self, peer: NodeId, survey: &Survey) -> String {
        let called = self.inner.names.called(peer);
        let announced = survey.nodes.iter().find(|node| node.peer == Some(peer));
        match (called.name, announced) {
            (None, Some(node)) => node.instance.clone(),
            _ => called.display,
        }
    }

    fn nodes(&self, survey: &Survey) -> Vec<NodeOnLan> {
        let tag = self.inner.network.tag();
        let node = |node: &SurveyedNode| NodeOnLan {
            peer_id: node.peer.map(|peer| peer.to_string()),
            instance: node.instance.clone(),
            same_network: node.network_tag == tag,
            version: node.version.clone(),
            address: node.from.to_string(),
            here: node.is_here,
        };
        survey.nodes.iter().map(node).collect()
    }
}

/// The best that came of several knocks: one way that leads there is enough.
fn best(knocks: impl Iterator<Item = Knock>) -> Way {
    let rank = |knock: &Knock| match knock {
        Knock::Through => 0,
        Knock::Refused => 1,
        Knock::NotPermitted => 2,
        Knock::NoAnswer => 3,
        Knock::NoRoute => 4,
        Knock::NotTried => 5,
    };
    way(knocks.min_by_key(rank).unwrap_or(Knock::NotTried))
}

fn way(knock: Knock) -> Way {
    match knock {
        Knock::Through => Way::Through,
        Knock::NoAnswer => Way::NoAnswer,
        Knock::Refused => Way::Refused,
        Knock::NoRoute => Way::NoRoute,
        Knock::NotPermitted => Way::NotPermitted,
        Knock::NotTried => Way::NotTried,
    }
}

/// Both address families of each interface together.
fn interfaces(survey: &Survey) -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for place in &survey.places {
        let (way, why) = match &place.multicast {
            Surveyed::CameBack => (MulticastWay::Works, None),
            Surveyed::Lost(why) => (MulticastWay::Lost, why.clone()),
            Surveyed::PortTaken(why) => (MulticastWay::PortTaken, Some(why.clone())),
            Surveyed::None(why) => (MulticastWay::Unavailable, Some(why.clone())),
        };
        let at = interfaces.iter().position(|known| known.name == place.interface);
        let at = at.unwrap_or_else(|| {
            interfaces.push(Interface {
                name: place.interface.clone(),
                loopback: place.is_loopback,
                ipv4: None,
                ipv6: None,
                reason: None,
            });
            interfaces.len() - 1
        });
        if let Some(interface) = interfaces.get_mut(at) {
            let family = if place.is_v6 {
                &mut interface.ipv6
            } else {
                &mut interface.ipv4
            };
            *family = Some(way);
            interface.reason = interface.reason.take().or(why);
        }
    }
    interfaces
}

/// What the peers told just now, or else what the last message of the sync showed.
fn clocks(status: &Status, told: &BTreeMap<NodeId, Told>, name: impl Fn(NodeId) -> String) -> Vec<PeerClock> {
    let mut clocks: Vec<PeerClock> = told
        .iter()
        .map(|(peer, told)| PeerClock {
            peer_id: peer.to_string(),
            display_name: name(*peer),
            ahead_seconds: seconds(told.clock_ahead_nanos),
            within_seconds: Some(seconds(i64::try_from(told.clock_within_nanos).unwrap_or(i64::MAX))),
        })
        .collect();
    for peer in &status.sync.peers {
        let is_known = clocks.iter().any(|clock| clock.peer_id == peer.synced.peer_id);
        if let Some(ahead_seconds) = peer.clock_ahead_seconds.filter(|_| !is_known) {
            clocks.push(PeerClock {
                peer_id: peer.synced.peer_id.clone(),
                display_name: peer.synced.display_name.clone(),
                ahead_seconds,
                within_seconds: None,
            });
        }
    }
    clocks
}

/// Nanoseconds in seconds, to the millisecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "a float holds milliseconds exactly for longer than timestamps last"
)]
fn seconds(nanos: i64) -> f64 {
    (nanos / 1_000_000) as f64 / 1e3
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::net::SurveyedPlace;

    #[test]
    fn one_way_that_leads_there_is_enough_and_otherwise_the_most_telling_counts() {
        let of = |knocks: &[Knock]| best(knocks.iter().copied());
        assert_eq!(of(&[Knock::NoAnswer, Knock::Through]), Way::Through);
        assert_eq!(of(&[Knock::NoRoute, Knock::NoAnswer, Knock::Refused]), Way::Refused);
        assert_eq!(of(&[Knock::NotTried, Knock::NoRoute]), Way::NoRoute);
        assert_eq!(of(&[]), Way::NotTried);
    }

    #[test]
    fn both_address_families_of_an_interface_are_told_together() {
        let place = |interface: &str, is_v6, multicast| SurveyedPlace {
            interface: interface.to_owned(),
            is_loopback: interface == "lo",
            is_v6,
            multicast,
        };
        let survey = Survey {
            places: vec![
                place("lo", false, Surveyed::CameBack),
                place("eth0", false, Surveyed::Lost(Some("not permitted".to_owned()))),
                place("eth0", true, Surveyed::None("no".to_owned())),
            ],
            ..Survey::default()
        };
        let told = interfaces(&survey);
        assert_eq!(told.len(), 2);
        assert!(told[0].loopback);
        assert_eq!((told[0].ipv4, told[0].ipv6), (Some(MulticastWay::Works), None));
        assert_eq!(
            (told[1].ipv4, told[1].ipv6, told[1].reason.as_deref()),
            (
                Some(MulticastWay::Lost),
                Some(MulticastWay::Unavailable),
                Some("not permitted")
            )
        );
    }
}
