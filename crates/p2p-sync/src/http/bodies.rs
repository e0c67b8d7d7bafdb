//! How much memory the bodies of requests may take together, and which one makes way. A body of unknown length takes memory as it
//! arrives. When there is none left, the body of which nothing has come for longest is given up: so whoever begins bodies and does not
//! send them keeps nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How much all bodies that are being read or worked on may take.
const KIB_MAX: usize = 64 * 1024;
/// A body of which nothing has come for so long makes way for others.
const STALLED: Duration = Duration::from_millis(500);
/// How often it is looked for one.
const PAUSE: Duration = Duration::from_millis(100);

/// The memory for bodies.
#[derive(Debug)]
pub(super) struct Bodies {
    kibibytes: Arc<Semaphore>,
    arriving: Mutex<Arriving>,
}

#[derive(Debug, Default)]
struct Arriving {
    next: u64,
    /// The one of which nothing has come for longest first.
    all: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

/// A body that is arriving, with the memory that it has taken so far. Dropping it gives that up.
#[derive(Debug)]
pub(super) struct Incoming {
    bodies: Arc<Bodies>,
    number: u64,
    gives_way: Arc<Notify>,
    permit: Option<OwnedSemaphorePermit>,
    kibibytes: usize,
}

impl Bodies {
    /// With all memory free.
    pub(super) fn new() -> Self {
        Self {
            kibibytes: Arc::new(Semaphore::new(KIB_MAX)),
            arriving: Mutex::default(),
        }
    }

    /// A body begins to arrive.
    pub(super) fn begin(self: &Arc<Self>) -> Incoming {
        let gives_way = Arc::new(Notify::new());
        let number = self.with(|arriving| arriving.add(&gives_way));
        Incoming {
            bodies: Arc::clone(self),
            number,
            gives_way,
            permit: None,
            kibibytes: 0,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Arriving) -> T) -> T {
        change(&mut self.arriving.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Arriving {
    fn add(&mut self, gives_way: &Arc<Notify>) -> u64 {
        self.next += 1;
        self.all.insert(self.next, (Instant::now(), Arc::clone(gives_way)));
        self.next
    }

    /// Gives up the one of which nothing has come for longest, if that is long.
    fn give_up_stalled(&mut self) {
        if let Some(oldest) = self.all.first_entry()
            && oldest.get().0.elapsed() >= STALLED
        {
            oldest.remove().1.notify_one();
        }
    }
}

impl Incoming {
    /// Waits until it has to make way.
    pub(super) async fn made_way(&self) {
        self.gives_way.notified().await;
    }

    /// Something of it has come, and it takes so many bytes by now or is about to. Waits for memory.
    pub(super) async fn takes(&mut self, bytes: usize) {
        let Self { number, gives_way, .. } = self;
        *number = self.bodies.with(|arriving| {
            arriving.all.remove(number);
            arriving.add(gives_way)
        });
        let missing = (bytes.div_ceil(1_024) + 1).saturating_sub(self.kibibytes);
        let wanted = u32::try_from(missing).unwrap_or(u32::MAX);
        if wanted == 0 {
            return;
        }
        let mut free = Box::pin(self.bodies.kibibytes.clone().acquire_many_owned(wanted));
        let permit = loop {
            match timeout(PAUSE, &mut free).await {
                // It is never closed.
                Ok(permit) => break permit.ok(),
                Err(_) => self.bodies.with(Arriving::give_up_stalled),
            }
        };
        self.kibibytes += missing;
        match (&mut self.permit, permit) {
            (Some(held), Some(more)) => held.merge(more),
            (held, more) => *held = more,
        }
    }

    /// All of it is here: its memory is in use until this is dropped, and it does not make way any more.
    pub(super) fn complete(mut self) -> Option<OwnedSemaphorePermit> {
        self.permit.take()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.bodies.with(|arriving| arriving.all.remove(&self.number));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn a_body_that_has_stalled_makes_way_and_one_that_arrives_or_is_complete_does_not() {
        let bodies = Arc::new(Bodies::new());
        let mut complete = bodies.begin();
        complete.takes(MIB).await;
        let complete = complete.complete();
        let mut stalled = Vec::new();
        for _ in 0..62 {
            let mut body = bodies.begin();
            body.takes(MIB - 1_024).await;
            stalled.push(body);
        }
        let mut arrives = bodies.begin();
        arrives.takes(1_024).await;
        tokio::time::sleep(STALLED).await;
        arrives.takes(2_048).await;
        let mut wanted = bodies.begin();
        let oldest = stalled.remove(0);
        let (_, ()) = tokio::join!(wanted.takes(MIB), async move {
            oldest.made_way().await;
            drop(oldest);
        });
        assert!(arrives.made_way().now_or_never().is_none());
        let given_up = stalled.iter().filter(|body| body.made_way().now_or_never().is_some());
        assert_eq!(given_up.count(), 0, "one is enough");
        drop((complete, stalled, arrives, wanted));
        assert_eq!(bodies.kibibytes.available_permits(), KIB_MAX);
    }
}
