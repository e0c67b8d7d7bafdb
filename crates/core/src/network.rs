//! The name that separates networks on one LAN, and the names on the wire derived from it. It is not a secret: it keeps
//! nobody out who knows it.

use std::fmt;
use std::str::FromStr;

use crate::limits::NETWORK_NAME_BYTES_MAX;

/// The name of a network: empty for the default network, otherwise 1 to [`NETWORK_NAME_BYTES_MAX`] bytes of UTF-8 without
/// control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct NetworkName(String);

/// A network name that is too long or contains control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a network name: at most {NETWORK_NAME_BYTES_MAX} bytes, no control characters")]
pub struct InvalidNetworkName;

impl NetworkName {
    /// The name as it was given; empty for the default network.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The gossip topic: `p2p-sync`, or `p2p-sync/NAME`.
    pub fn topic(&self) -> String {
        if self.0.is_empty() {
            "p2p-sync".to_owned()
        } else {
            format!("p2p-sync/{}", self.0)
        }
    }

    /// The first 16 hexadecimal digits of BLAKE3 over the name.
    pub fn tag(&self) -> String {
        blake3::hash(self.0.as_bytes()).to_hex().chars().take(16).collect()
    }

    /// A protocol's name within this network: ends in the tag unless it is the default network, so that negotiation
    /// with a node of another network fails before any data is sent.
    pub fn protocol(&self, base: &str) -> String {
        if self.0.is_empty() {
            base.to_owned()
        } else {
            format!("{base}/{}", self.tag())
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NetworkName {
    type Err = InvalidNetworkName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > NETWORK_NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(InvalidNetworkName);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_network_has_the_plain_names() {
        let name = NetworkName::default();
        assert_eq!(name.topic(), "p2p-sync");
        assert_eq!(name.protocol("/p2p-sync/kad/1.0.0"), "/p2p-sync/kad/1.0.0");
    }

    #[test]
    fn a_named_network_has_names_of_its_own() {
        let name: NetworkName = "lab".parse().unwrap();
        assert_eq!(name.topic(), "p2p-sync/lab");
        assert_eq!(name.tag(), &blake3::hash(b"lab").to_hex()[..16]);
        assert_eq!(
            name.protocol("/p2p-sync/sync/1"),
            format!("/p2p-sync/sync/1/{}", name.tag())
        );
    }

    #[test]
    fn long_names_and_control_characters_are_refused() {
        assert!("x".repeat(64).parse::<NetworkName>().is_ok());
        assert!("x".repeat(65).parse::<NetworkName>().is_err());
        assert!("a\nb".parse::<NetworkName>().is_err());
    }
}
