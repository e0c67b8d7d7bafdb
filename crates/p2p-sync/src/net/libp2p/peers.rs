//! The other nodes: who is known and dialled, who is connected, and with whom something is wrong.

pub(in crate::net::libp2p) mod address_book;
pub(in crate::net::libp2p) mod boots;
pub(in crate::net::libp2p) mod connections;
pub(in crate::net::libp2p) mod dialer;
pub(in crate::net::libp2p) mod per_address;
pub(in crate::net::libp2p) mod subnets;
pub(in crate::net::libp2p) mod troubles;
pub(in crate::net::libp2p) mod twins;
