//! The other nodes: which are known and dialled, which are connected, and which have problems.

pub(in crate::net::libp2p) mod address_book;
pub(in crate::net::libp2p) mod boots;
pub(in crate::net::libp2p) mod connections;
pub(in crate::net::libp2p) mod dialer;
pub(in crate::net::libp2p) mod own_dials;
pub(in crate::net::libp2p) mod per_address;
pub(in crate::net::libp2p) mod subnets;
pub(in crate::net::libp2p) mod troubles;
pub(in crate::net::libp2p) mod twins;
