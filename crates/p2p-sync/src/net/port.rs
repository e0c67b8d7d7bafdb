//! Claims a port exclusively: the transports listen with address sharing, so a second node on the same port would start and
//! then get every other connection of the first. A plain bind, TCP and UDP, detects that beforehand.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use crate::system;

/// How often another free port is tried when the UDP side of one is taken.
const ATTEMPTS: usize = 64;

/// Why the port cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Another program is using it.
    #[error(
        "port {port} is in use ({source}): stop the program that has it, or choose another port with --port (0: \
    any)"
    )]
    Taken {
        /// Which.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// This process may open no more sockets.
    #[error("cannot open a socket to listen on port {port}: {source}")]
    NoSocket {
        /// Which.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// This user may not use it.
    #[error(
        "not permitted to listen on port {port} ({source}): choose another port with --port (0: any), or run with the \
         privilege to use this one"
    )]
    NotPermitted {
        /// Which.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
}

impl PortError {
    fn new(port: u16, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { port, source },
            _ if system::is_out_of_files(&source) => Self::NoSocket { port, source },
            _ => Self::Taken { port, source },
        }
    }

    /// Whether no other port would do any better.
    pub fn is_of_this_process(&self) -> bool {
        matches!(self, Self::NoSocket { .. })
    }

    /// Whether another program has it, which may let go of it.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Taken { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }

    /// Whether another port, or another user, would do.
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, Self::NotPermitted { .. })
    }
}

/// Checks that no program uses `port` for TCP or UDP; if it is 0, finds a free one. The transports can bind the port when
/// this returns.
///
/// # Errors
/// If it is in use, or this user may not use it.
pub fn claim_port(port: u16) -> Result<u16, PortError> {
    if port != 0 {
        return try_claim(port).map_err(|source| PortError::new(port, source));
    }
    let mut last = io::Error::other("no free port");
    for _ in 0..ATTEMPTS {
        match try_claim(0) {
            Ok(port) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(PortError::new(port, last))
}

fn try_claim(port: u16) -> io::Result<u16> {
    let v4 = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let v6 = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let port = {
        let tcp = TcpListener::bind(v4(port))?;
        let port = tcp.local_addr()?.port();
        let _udp = UdpSocket::bind(v4(port))?;
        port
    };
    // IPv6 by itself, because on some systems its socket takes IPv4 along. A machine without IPv6 is no failure.
    tolerate_absence(TcpListener::bind(v6(port)).map(drop))?;
    tolerate_absence(UdpSocket::bind(v6(port)).map(drop))?;
    Ok(port)
}

fn tolerate_absence(bound: io::Result<()>) -> io::Result<()> {
    bound.or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_found_and_can_be_claimed_again() {
        let port = claim_port(0).unwrap();
        assert_ne!(port, 0);
        assert_eq!(claim_port(port).unwrap(), port);
    }

    #[test]
    fn a_port_in_use_is_refused_for_either_protocol() {
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert!(claim_port(tcp.local_addr().unwrap().port()).is_err());
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert!(claim_port(udp.local_addr().unwrap().port()).is_err());
    }

    #[test]
    fn a_port_that_is_not_allowed_is_told_from_one_in_use() {
        let refused = |kind: io::ErrorKind| PortError::new(80, kind.into());
        let forbidden = refused(io::ErrorKind::PermissionDenied);
        assert!(matches!(forbidden, PortError::NotPermitted { port: 80, .. }));
        assert!(
            forbidden
                .to_string()
                .starts_with("not permitted to listen on port 80 (permission denied)"),
            "{forbidden}"
        );
        let taken = refused(io::ErrorKind::AddrInUse);
        assert!(matches!(taken, PortError::Taken { port: 80, .. }));
        assert!(taken.to_string().starts_with("port 80 is in use"), "{taken}");
    }
}
