//! Packets about the services of other programs.

use simple_dns::rdata::{PTR, RData};
use simple_dns::{Name, Packet, PacketFlag, ResourceRecord, TYPE};

use super::wire::{ALL_SERVICES, SERVICE, SMALLEST_BYTES, is_instance, promised, question};

/// Asks for the names of all kinds of services, which every responder of DNS-SD answers that has one.
pub(super) fn all_services() -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(0);
    packet
        .questions
        .push(question(Name::new(ALL_SERVICES).ok()?, TYPE::PTR));
    packet.build_bytes_vec_compressed().ok()
}

/// Whether a packet is an answer about services of other programs.
pub(super) fn tells_of_others(bytes: &[u8]) -> bool {
    let (Ok(service), Ok(all)) = (Name::new(SERVICE), Name::new(ALL_SERVICES)) else {
        return false;
    };
    let is_other = |record: &ResourceRecord<'_>| match &record.rdata {
        RData::PTR(PTR(kind)) if record.name == all => *kind != service,
        RData::PTR(_) => record.name != service,
        RData::SRV(_) | RData::TXT(_) => !is_instance(&record.name),
        _ => false,
    };
    let promised: usize = (4..12).step_by(2).map(|at| promised(bytes, at)).sum();
    promised.saturating_mul(SMALLEST_BYTES) <= bytes.len()
        && Packet::parse(bytes)
            .is_ok_and(|packet| packet.has_flags(PacketFlag::RESPONSE) && packet.answers.iter().any(is_other))
}
