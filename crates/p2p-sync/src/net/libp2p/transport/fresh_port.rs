//! A second attempt for a dial that cannot use this node's listening port. Dials share that port, so that others see where
//! to dial back; if the operating system refuses that, as Windows may do forever, any port is better than no connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};

/// A transport whose dials fall back to a port of their own. `spare` is another one of the same kind, which never listens.
#[derive(Debug)]
pub(in crate::net::libp2p) struct FreshPort<T> {
    inner: T,
    spare: Arc<Mutex<T>>,
}

impl<T> FreshPort<T> {
    pub(in crate::net::libp2p) fn new(inner: T, spare: T) -> Self {
        Self {
            inner,
            spare: Arc::new(Mutex::new(spare)),
        }
    }
}

/// Whether a dial failed for the port that it shares, and not for what it met: 10048, 10049 and 10013 on Windows.
fn is_about_the_port(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied
    )
}

impl<T> Transport for FreshPort<T>
where
    T: Transport<Error = io::Error> + Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::Output: Send + 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, io::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        if options.port_use == PortUse::New {
            return Ok(self.inner.dial(address, options)?.boxed());
        }
        let first = match self.inner.dial(address.clone(), options) {
            Ok(dial) => dial.boxed(),
            Err(TransportError::Other(error)) => std::future::ready(Err(error)).boxed(),
            Err(error) => return Err(error),
        };
        let spare = Arc::clone(&self.spare);
        Ok(async move {
            let error = match first.await {
                Err(error) if is_about_the_port(&error) => error,
                result => return result,
            };
            tracing::debug!("dialling {address} from another port: {error}");
            let fresh = DialOpts {
                port_use: PortUse::New,
                ..options
            };
            let second = spare
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .dial(address, fresh);
            match second {
                Ok(dial) => dial.await,
                Err(TransportError::Other(error)) => Err(error),
                Err(TransportError::MultiaddrNotSupported(_)) => Err(error),
            }
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Pending, Ready, ready};

    use libp2p::core::Endpoint;

    use super::*;

    /// Refuses to share the port, at once or after a moment, and gives the way in which it was dialled otherwise.
    struct Stubborn {
        refusal: io::ErrorKind,
        at_once: bool,
    }

    impl Transport for Stubborn {
        type Output = PortUse;
        type Error = io::Error;
        type ListenerUpgrade = Pending<Result<PortUse, io::Error>>;
        type Dial = Ready<Result<PortUse, io::Error>>;

        fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(address))
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(&mut self, _: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
            match (options.port_use, self.at_once) {
                (PortUse::New, _) => Ok(ready(Ok(PortUse::New))),
                (PortUse::Reuse, true) => Err(TransportError::Other(self.refusal.into())),
                (PortUse::Reuse, false) => Ok(ready(Err(self.refusal.into()))),
            }
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            Poll::Pending
        }
    }

    fn dial(refusal: io::ErrorKind, at_once: bool) -> Result<PortUse, io::ErrorKind> {
        let stubborn = || Stubborn { refusal, at_once };
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let address = "/ip4/127.0.0.1/tcp/9".parse().unwrap();
        let dial = FreshPort::new(stubborn(), stubborn()).dial(address, options).unwrap();
        futures::executor::block_on(dial).map_err(|error| error.kind())
    }

    #[test]
    fn a_dial_that_cannot_share_the_port_takes_another() {
        for refusal in [
            io::ErrorKind::AddrInUse,
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::PermissionDenied,
        ] {
            for at_once in [true, false] {
                assert_eq!(dial(refusal, at_once), Ok(PortUse::New), "{refusal}");
            }
        }
        #[cfg(windows)]
        for code in [10_013, 10_048, 10_049] {
            assert!(is_about_the_port(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }

    #[test]
    fn what_the_other_side_says_is_no_reason_for_another_port() {
        for refusal in [io::ErrorKind::ConnectionRefused, io::ErrorKind::HostUnreachable] {
            assert_eq!(dial(refusal, false), Err(refusal));
        }
    }
}
