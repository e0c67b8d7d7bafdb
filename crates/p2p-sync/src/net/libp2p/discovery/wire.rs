//! The packets of multicast DNS: extracting what concerns this program, and building its own. The library parses; anything
//! in a packet that is not about our service is dropped here, so that nothing else needs a limit.

use std::net::IpAddr;

use libp2p::PeerId;
use simple_dns::rdata::{PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

use super::ours::Said;

/// What every node announces itself as.
pub(super) const SERVICE: &str = "_p2p-sync._tcp.local";
/// The name under which browsers ask for all kinds of services.
pub(super) const ALL_SERVICES: &str = "_services._dns-sd._udp.local";
/// The largest packet of multicast DNS (RFC 6762, section 17).
pub(super) const PACKET_BYTES_MAX: usize = 9_000;
/// Known instances that are listed with a question: as many as fit into one packet of an Ethernet.
const KNOWN_MAX: usize = 16;
/// Of a list that somebody else sends, as many are looked at.
const LISTED_MAX: usize = 64;
/// What the names that are asked for may take in one packet.
const NAMES_BYTES_MAX: usize = 1_350;
/// What two questions about a name take beside its text: its two ends, its repetition as a pointer, two kinds and two classes.
const PER_NAME_BYTES: usize = 12;
/// Records of one packet that are looked at.
const RECORDS_MAX: usize = 512;
/// How long others may keep records that name a host or its address, in seconds (RFC 6762, section 10).
const HOST_TTL_S: u32 = 120;
/// How long they may keep the others, in seconds.
const OTHER_TTL_S: u32 = 4_500;
/// How long a resolver that knows nothing of multicast may keep an answer, in seconds (RFC 6762, section 6.7).
const LEGACY_TTL_S: u32 = 10;
/// Where the third byte of a packet says what kind of message it is, and the fourth how it went.
const OPCODE: u8 = 0x78;
const RCODE: u8 = 0x0f;
/// The smallest question, and the smallest record.
pub(super) const SMALLEST_BYTES: usize = 5;

/// What a packet says that concerns us.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Query(Query),
    Response(Vec<Piece>),
}

/// Somebody asks for what nodes announce.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// All instances are asked for, except for those that are listed.
    pub(super) browses: bool,
    /// Instances that the asker knows already.
    pub(super) listed: Vec<String>,
    /// This node is among those that are to answer.
    pub(super) wants_us: bool,
    /// To be repeated to a resolver that knows nothing of multicast.
    pub(super) id: u16,
    /// Something was asked that only this node can answer, so that nobody else's answer can collide with it.
    pub(super) is_for_us_alone: bool,
    /// The names of all kinds of services are wanted.
    pub(super) of_all_services: bool,
    /// The asker knows more than it lists.
    pub(super) knows_more: bool,
    /// The questions, as they came.
    asked: Vec<Question<'static>>,
}

/// One record about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// There is such an instance.
    Instance { instance: String, ttl_s: u32 },
    /// Where it is.
    Place {
        instance: String,
        host: String,
        port: u16,
        ttl_s: u32,
    },
    /// Who it is.
    Text { instance: String, said: Said, ttl_s: u32 },
    /// An address of a host. `flushes`: what was said of that host and family before is void.
    Address {
        host: String,
        address: IpAddr,
        ttl_s: u32,
        flushes: bool,
    },
}

/// How this node names itself.
#[derive(Debug, Clone)]
pub(super) struct OwnNames {
    /// The full name of the instance.
    pub(super) instance: String,
    host: String,
    pub(super) text: Vec<String>,
    port: u16,
}

/// What a response is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Announce,
    Withdraw,
}

impl OwnNames {
    pub(super) fn new(label: &str, peer: &PeerId, network_tag: &str, port: u16) -> Self {
        Self {
            instance: format!("{label}.{SERVICE}"),
            host: format!("{label}.local"),
            text: vec![format!("id={peer}"), "v=1".to_owned(), format!("net={network_tag}")],
            port,
        }
    }

    /// The names of a node of a private network, which say nothing but what is sealed for its members.
    pub(super) fn sealed(label: &str, sealed: Option<&str>, port: u16) -> Self {
        let mut text = vec!["v=2".to_owned()];
        text.extend(sealed.map(|sealed| format!("x={sealed}")));
        Self {
            instance: format!("{label}.{SERVICE}"),
            host: format!("{label}.local"),
            text,
            port,
        }
    }

    fn records(&self, addresses: &[IpAddr], all_services: bool) -> Option<Vec<ResourceRecord<'_>>> {
        let (service, instance) = (Name::new(SERVICE).ok()?, Name::new(&self.instance).ok()?);
        let host = Name::new(&self.host).ok()?;
        let mut text = TXT::new();
        for string in &self.text {
            text.add_string(string).ok()?;
        }
        let place = SRV {
            priority: 0,
            weight: 0,
            port: self.port,
            target: host.clone(),
        };
        let own = |name: &Name<'static>, ttl_s, data| {
            ResourceRecord::new(name.clone(), CLASS::IN, ttl_s, data).with_cache_flush(true)
        };
        let (instance, host) = (instance.into_owned(), host.into_owned());
        let pointer = RData::PTR(PTR(instance.clone()));
        let mut records = vec![
            ResourceRecord::new(service.clone(), CLASS::IN, OTHER_TTL_S, pointer),
            own(&instance, HOST_TTL_S, RData::SRV(place)),
            own(&instance, OTHER_TTL_S, RData::TXT(text)),
        ];
        records.extend(addresses.iter().map(|address| {
            let data = match address {
                IpAddr::V4(address) => RData::A((*address).into()),
                IpAddr::V6(address) => RData::AAAA((*address).into()),
            };
            own(&host, HOST_TTL_S, data)
        }));
        if all_services {
            let kind = RData::PTR(PTR(service));
            records.push(ResourceRecord::new(
                Name::new(ALL_SERVICES).ok()?,
                CLASS::IN,
                OTHER_TTL_S,
                kind,
            ));
        }
        Some(records)
    }

    /// All records about this node, with the addresses of the interface on which they go out.
    pub(super) fn response(&self, addresses: &[IpAddr], all_services: bool, purpose: Purpose) -> Option<Vec<u8>> {
        let mut packet = Packet::new_reply(0);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        packet.answers = self.records(addresses, all_services)?;
        if purpose == Purpose::Withdraw {
            packet.answers.iter_mut().for_each(|record| record.ttl = 0);
        }
        packet.build_bytes_vec_compressed().ok()
    }

    /// The answer for a resolver that asked from a port of its own and expects it there.
    pub(super) fn legacy_response(&self, query: &Query, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        let mut packet = Packet::new_reply(query.id);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        packet.questions.clone_from(&query.asked);
        let asked = |record: &ResourceRecord<'_>| {
            let of = |question: &Question<'_>| question.qname == record.name && record.match_qtype(question.qtype);
            query.asked.iter().any(of)
        };
        let records = self
            .records(addresses, query.of_all_services)?
            .into_iter()
            .map(|mut record| {
                record.ttl = record.ttl.min(LEGACY_TTL_S);
                record.with_cache_flush(false)
            });
        (packet.answers, packet.additional_records) = records.partition(asked);
        packet.build_bytes_vec_compressed().ok()
    }

    /// What a packet says that concerns us, if anything.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<Message> {
        // The library makes room for as many records as the header promises.
        let promised: usize = (4..12).step_by(2).map(|at| promised(bytes, at)).sum();
        if promised.saturating_mul(SMALLEST_BYTES) > bytes.len() {
            return None;
        }
        // Other kinds of messages, and errors, are none of multicast DNS (RFC 6762, sections 18.3 and 18.11).
        let is_plain = bytes.get(2).is_some_and(|flags| flags & OPCODE == 0)
            && bytes.get(3).is_some_and(|flags| flags & RCODE == 0);
        if !is_plain {
            return None;
        }
        let packet = Packet::parse(bytes).ok()?;
        if packet.has_flags(PacketFlag::RESPONSE) {
            let all = packet.answers.iter().chain(&packet.additional_records);
            let pieces: Vec<Piece> = all.take(RECORDS_MAX).filter_map(piece).collect();
            (!pieces.is_empty()).then_some(Message::Response(pieces))
        } else {
            self.query(&packet).map(Message::Query)
        }
    }

    fn query(&self, packet: &Packet<'_>) -> Option<Query> {
        let (service, all_services) = (Name::new(SERVICE).ok()?, Name::new(ALL_SERVICES).ok()?);
        let (instance, host) = (Name::new(&self.instance).ok()?, Name::new(&self.host).ok()?);
        let is = |question: &Question<'_>, kinds: &[TYPE]| match question.qtype {
            QTYPE::ANY => true,
            QTYPE::TYPE(kind) => kinds.contains(&kind),
            _ => false,
        };
        let browses = |question: &&Question<'_>| question.qname == service && is(question, &[TYPE::PTR]);
        let lists = |question: &&Question<'_>| question.qname == all_services && is(question, &[TYPE::PTR]);
        let resolves = |question: &&Question<'_>| {
            question.qname == instance && is(question, &[TYPE::SRV, TYPE::TXT])
                || question.qname == host && is(question, &[TYPE::A, TYPE::AAAA])
        };
        let questions = &packet.questions;
        let is_for_us_alone = questions.iter().any(|question| resolves(&question));
        let of_all_services = questions.iter().any(|question| lists(&question));
        let browses = questions.iter().any(|question| browses(&question));
        // Whoever is known already, and for long enough, is not wanted again.
        let listed: Vec<String> = packet
            .answers
            .iter()
            .take(LISTED_MAX)
            .filter_map(|record| match &record.rdata {
                RData::PTR(PTR(of)) if record.name == service && record.ttl >= OTHER_TTL_S / 2 => Some(key(of)),
                _ => None,
            })
            .collect();
        let is_wanted = browses && !listed.contains(&key(&instance));
        (is_for_us_alone || of_all_services || browses).then(|| Query {
            browses,
            listed,
            wants_us: is_for_us_alone || of_all_services || is_wanted,
            id: packet.id(),
            is_for_us_alone,
            of_all_services,
            knows_more: packet.has_flags(PacketFlag::TRUNCATION),
            asked: questions.iter().take(8).cloned().map(Question::into_owned).collect(),
        })
    }
}

pub(super) fn promised(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    }
}

fn key(name: &Name<'_>) -> String {
    name.to_string().to_ascii_lowercase()
}

fn piece(record: &ResourceRecord<'_>) -> Option<Piece> {
    if record.class != CLASS::IN {
        return None;
    }
    let ttl_s = record.ttl;
    match &record.rdata {
        RData::PTR(PTR(instance)) => {
            let is_ours = record.name == Name::new(SERVICE).ok()? && is_instance(instance);
            is_ours.then(|| Piece::Instance {
                instance: key(instance),
                ttl_s,
            })
        }
        RData::SRV(place) => is_instance(&record.name).then(|| Piece::Place {
            instance: key(&record.name),
            host: key(&place.target),
            port: place.port,
            ttl_s,
        }),
        RData::TXT(text) => is_instance(&record.name).then(|| Piece::Text {
            instance: key(&record.name),
            said: Said {
                peer: attribute(text, "id").and_then(|id| id.parse().ok()),
                network_tag: attribute(text, "net").unwrap_or_default(),
                version: attribute(text, "v").unwrap_or_default(),
                sealed: attribute(text, "v")
                    .filter(|version| version == "2")
                    .and_then(|_| attribute(text, "x")),
            },
            ttl_s,
        }),
        RData::A(address) => address_piece(record, IpAddr::V4(address.address.into())),
        RData::AAAA(address) => address_piece(record, IpAddr::V6(address.address.into())),
        _ => None,
    }
}

fn address_piece(record: &ResourceRecord<'_>, address: IpAddr) -> Option<Piece> {
    record.name.is_link_local().then(|| Piece::Address {
        host: key(&record.name),
        address,
        ttl_s: record.ttl,
        flushes: record.cache_flush,
    })
}

/// Whether it is one label before the name of our service.
pub(super) fn is_instance(name: &Name<'_>) -> bool {
    Name::new(SERVICE).is_ok_and(|service| {
        name.get_labels().len() == service.get_labels().len() + 1 && name.is_subdomain_of(&service)
    })
}

/// The value of a key; the first counts (RFC 6763, section 6.4). Empty strings and those without a key are passed over.
fn attribute(text: &TXT<'_>, wanted: &str) -> Option<String> {
    let mut all = text.iter_raw();
    let (_, value) = all.find(|(key, _)| key.eq_ignore_ascii_case(wanted.as_bytes()))?;
    String::from_utf8(value?.to_vec()).ok()
}

/// Asks for all instances, except for those that are known. A list that is too long for one packet is cut, and says so.
pub(super) fn browse<'a>(mut known: impl Iterator<Item = &'a str>) -> Option<Vec<u8>> {
    let service = Name::new(SERVICE).ok()?;
    let mut packet = Packet::new_query(0);
    packet.questions.push(question(service.clone(), TYPE::PTR));
    let listed = known
        .by_ref()
        .take(KNOWN_MAX)
        .filter_map(|instance| Name::new(instance).ok());
    packet.answers = listed
        .map(|instance| ResourceRecord::new(service.clone(), CLASS::IN, OTHER_TTL_S, RData::PTR(PTR(instance))))
        .collect();
    if known.next().is_some() {
        packet.set_flags(PacketFlag::TRUNCATION);
    }
    packet.build_bytes_vec_compressed().ok()
}

/// Asks for what is not known yet of these instances and hosts, or of the first of them, as far as one packet of an Ethernet has
/// room: others choose how long the names are.
pub(super) fn resolve<'a>(
    instances: impl Iterator<Item = &'a str>,
    hosts: impl Iterator<Item = &'a str>,
) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(0);
    let mut room = NAMES_BYTES_MAX;
    let mut named = |all: &mut dyn Iterator<Item = &'a str>, kinds: [TYPE; 2]| -> Vec<Question<'a>> {
        all.filter(|name| {
            let fits = name.len() + PER_NAME_BYTES <= room;
            room -= if fits { name.len() + PER_NAME_BYTES } else { 0 };
            fits
        })
        .filter_map(|name| Name::new(name).ok())
        .flat_map(|name| kinds.map(|kind| question(name.clone(), kind)))
        .collect()
    };
    let (mut instances, mut hosts) = (instances, hosts);
    packet.questions = named(&mut instances, [TYPE::SRV, TYPE::TXT]);
    packet.questions.extend(named(&mut hosts, [TYPE::A, TYPE::AAAA]));
    (!packet.questions.is_empty()).then(|| packet.build_bytes_vec_compressed().ok())?
}

pub(super) fn question(name: Name<'_>, kind: TYPE) -> Question<'_> {
    Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
pub(super) mod tests;
