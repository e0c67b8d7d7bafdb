//! How many connections there may be, and which one makes way. A connection on which no permitted request is being answered is
//! idle; when all places are taken, the one that has been idle for longest is closed for the new one. So whoever only opens
//! connections keeps nobody out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The places of a server.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The number of the next connection, and of the next moment of becoming idle.
    next: u64,
    connections: HashMap<u64, Connection>,
    /// The idle ones, the one that has been so for longest first.
    idle: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Connection {
    /// Its place among the idle ones.
    idle: Option<u64>,
    close: Arc<Notify>,
}

/// The place of one connection; dropping it gives the place up.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    close: Arc<Notify>,
}

/// A permitted request is being answered.
pub(super) struct Busy(Arc<Place>);

impl Places {
    /// So many.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            taken: Mutex::default(),
        }
    }

    /// A place for a new connection, which is idle; none if all are taken by busy ones.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let close = Arc::new(Notify::new());
        let number = self.with(|taken| {
            if taken.connections.len() >= self.max {
                let (_, oldest) = taken.idle.pop_first()?;
                let closed = taken.connections.remove(&oldest)?;
                closed.close.notify_one();
            }
            let number = taken.number();
            let idle = taken.number();
            taken.idle.insert(idle, number);
            let connection = Connection {
                idle: Some(idle),
                close: Arc::clone(&close),
            };
            taken.connections.insert(number, connection);
            Some(number)
        })?;
        Some(Place {
            places: Arc::clone(self),
            number,
            close,
        })
    }

    /// How many connections there are.
    pub(super) fn count(&self) -> usize {
        self.with(|taken| taken.connections.len())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Taken) -> T) -> T {
        change(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Taken {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Place {
    /// Waits until the connection has to make way.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// A permitted request is being answered until the result is dropped: the connection does not make way meanwhile.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.places.with(|taken| {
            if let Some(connection) = taken.connections.get_mut(&self.number)
                && let Some(idle) = connection.idle.take()
            {
                taken.idle.remove(&idle);
            }
        });
        Busy(Arc::clone(self))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Place { places, number, .. } = &*self.0;
        places.with(|taken| {
            let idle = taken.number();
            if let Some(connection) = taken.connections.get_mut(number) {
                connection.idle = Some(idle);
                taken.idle.insert(idle, *number);
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.with(|taken| {
            if let Some(connection) = taken.connections.remove(&self.number)
                && let Some(idle) = connection.idle
            {
                taken.idle.remove(&idle);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn is_closed(place: &Place) -> bool {
        place.closed().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_has_been_idle_for_longest_makes_way_and_a_busy_one_never() {
        let places = Arc::new(Places::new(3));
        let [first, second, third] = [(); 3].map(|()| Arc::new(places.take().unwrap()));
        let busy = first.busy();
        // Idle again, and later than the third.
        drop(second.busy());
        let fourth = Arc::new(places.take().unwrap());
        assert!(is_closed(&third) && !is_closed(&first) && !is_closed(&second));
        let _busy = [second.busy(), fourth.busy()];
        assert!(places.take().is_none());
        drop(third);
        assert_eq!(places.count(), 3, "it had been counted out before");
        drop(busy);
        assert!(places.take().is_some() && is_closed(&first));
        drop((first, places.take()));
        assert_eq!(places.count(), 2);
    }
}
