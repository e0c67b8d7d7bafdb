//! How many inbound connections may be set up at a time, and which one makes way if there are too many: the oldest of the address that
//! has most of them. So whoever opens connections and never finishes a handshake displaces himself, from however many addresses,
//! while a handshake that goes on takes milliseconds. The limits of the swarm can only refuse the newest.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt};
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use tokio::sync::oneshot;

use crate::net::libp2p::multiaddrs::ip;
use crate::throttle::Throttle;

/// Inbound connections being set up, in an open network.
pub(in crate::net::libp2p) const HALF_OPEN_MAX: usize = 256;
/// How often the log tells that some had to make way.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// One connection being set up.
#[derive(Debug)]
struct Waiting {
    /// None where the transport tells no address.
    source: Option<IpAddr>,
    give_up: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    max: usize,
    /// In the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    log: Throttle<Instant>,
}

impl Inner {
    /// The oldest connection of the address that has most; of several such addresses, the one whose oldest is oldest.
    fn victim(&self) -> Option<u64> {
        let mut by_source: HashMap<Option<IpAddr>, (usize, u64)> = HashMap::new();
        for (number, waiting) in &self.waiting {
            by_source.entry(waiting.source).or_insert((0, *number)).0 += 1;
        }
        let most = by_source
            .into_values()
            .max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)));
        most.map(|(_, oldest)| oldest)
    }

    fn make_way(&mut self) {
        let Some(waiting) = self.victim().and_then(|victim| self.waiting.remove(&victim)) else {
            return;
        };
        if let Some(count) = self.log.count(1, Instant::now()) {
            let from = waiting.source.map_or_else(String::new, |ip| format!(", one from {ip}"));
            tracing::warn!(
                "More than {} inbound connections are being set up at once; gave up {count} of those that take longest{from}",
                self.max
            );
        }
        // It may have come to its end meanwhile.
        let _ = waiting.give_up.send(());
    }
}

#[derive(Debug, Clone)]
struct Table(Arc<Mutex<Inner>>);

impl Table {
    fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            max,
            waiting: BTreeMap::new(),
            next: 0,
            log: Throttle::once(LOG_INTERVAL),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a connection from there, at the cost of another one if need be. The receiver is told when it has to make way.
    fn enter(&self, source: Option<IpAddr>) -> (Place, oneshot::Receiver<()>) {
        let mut inner = self.lock();
        if inner.waiting.len() >= inner.max {
            inner.make_way();
        }
        let (give_up, given_up) = oneshot::channel();
        let number = inner.next;
        inner.next += 1;
        let source = source.map(|ip| ip.to_canonical());
        inner.waiting.insert(number, Waiting { source, give_up });
        drop(inner);
        let table = self.clone();
        (Place { table, number }, given_up)
    }
}

/// The place of a connection in the table, for as long as it is being set up.
struct Place {
    table: Table,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.lock().waiting.remove(&self.number);
    }
}

/// A transport of which so many inbound connections are set up at a time.
#[derive(Debug)]
pub(in crate::net::libp2p) struct HalfOpen<T> {
    inner: T,
    table: Table,
}

impl<T> HalfOpen<T> {
    /// At most `max` at a time.
    pub(in crate::net::libp2p) fn new(inner: T, max: usize) -> Self {
        Self {
            inner,
            table: Table::new(max),
        }
    }
}

impl<T> Transport for HalfOpen<T>
where
    T: Transport<Error = io::Error> + Unpin,
    T::ListenerUpgrade: Send + 'static,
    T::Output: 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, Result<T::Output, io::Error>>;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let event = ready!(Pin::new(&mut self.inner).poll(cx));
        let source = match &event {
            TransportEvent::Incoming { send_back_addr, .. } => ip(send_back_addr),
            _ => None,
        };
        let table = self.table.clone();
        Poll::Ready(event.map_upgrade(|upgrade| {
            let (place, given_up) = table.enter(source);
            async move {
                let _place = place;
                tokio::select! {
                    biased;
                    connection = upgrade => connection,
                    Ok(()) = given_up => Err(io::Error::other("too many connections are being set up")),
                }
            }
            .boxed()
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(192, 0, 2, number).into())
    }

    #[test]
    fn the_oldest_of_the_address_that_has_most_makes_way() {
        let table = Table::new(HALF_OPEN_MAX);
        let (_honest, mut honest) = table.enter(address(200));
        let mut crowd: Vec<_> = (0..HALF_OPEN_MAX - 1)
            .map(|n| table.enter(address((n % 30) as u8)))
            .collect();
        assert!(honest.try_recv().is_err());
        // Address 0 has one more than most, and its first is the oldest.
        let (_late, mut late) = table.enter(address(201));
        assert_eq!(crowd[0].1.try_recv(), Ok(()));
        for _ in 0..10_000 {
            crowd.push(table.enter(address(7)));
            assert_eq!(table.lock().waiting.len(), HALF_OPEN_MAX);
        }
        assert!(honest.try_recv().is_err() && late.try_recv().is_err());
    }

    #[test]
    fn of_many_addresses_with_one_each_the_oldest_makes_way() {
        let table = Table::new(HALF_OPEN_MAX);
        let mut all: Vec<_> = (0..HALF_OPEN_MAX as u32 + 10)
            .map(|n| table.enter(Some(Ipv4Addr::from_bits(n).into())))
            .collect();
        for (number, (_, given_up)) in all.iter_mut().enumerate() {
            assert_eq!(given_up.try_recv().is_ok(), number < 10, "{number}");
        }
    }

    #[test]
    fn what_has_come_to_its_end_is_forgotten() {
        let table = Table::new(HALF_OPEN_MAX);
        let mut kept = table.enter(address(1));
        for _ in 0..1_000 {
            drop(table.enter(address(1)));
        }
        assert_eq!(table.lock().waiting.len(), 1);
        assert!(kept.1.try_recv().is_err());
    }
}
