//! What a simulated network is made of, and what one run of it leaves behind.

use std::fmt;
use std::rc::Rc;

use p2p_sync_core::gate::{Gate, GateLimits};
use p2p_sync_core::pacer::Pacer;
use p2p_sync_core::store::MemoryStore;
use p2p_sync_core::{NodeId, Record};

use crate::support::Random;

/// What one run did, to compare runs and to see that all of it really happens.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) writes: usize,
    pub(crate) unacknowledged: usize,
    pub(crate) ties: usize,
    /// Versions held at the end beside those that won.
    pub(crate) conflicts: usize,
    pub(crate) lost: usize,
    pub(crate) repeated: usize,
    pub(crate) batches: usize,
    pub(crate) refused: usize,
    pub(crate) restarts: usize,
    pub(crate) steps_back: usize,
    pub(crate) held: Vec<Record>,
}

/// A law that was broken.
pub(crate) struct Failure {
    pub(super) what: String,
    pub(super) story: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.story.len().saturating_sub(25);
        self.story[last..].iter().try_for_each(|line| writeln!(f, "{line}"))?;
        f.write_str(&self.what)
    }
}

/// How unkind this run is.
pub(super) struct Weather {
    pub(super) loss_percent: usize,
    pub(super) repeat_percent: usize,
    pub(super) delay_max_millis: usize,
    pub(super) skew_max_millis: usize,
    /// Wall clocks show multiples of this: coarse ones make ties.
    pub(super) tick_millis: i64,
    pub(super) limits: GateLimits,
}

impl Weather {
    pub(super) fn draw(random: &mut Random) -> Self {
        Self {
            loss_percent: *random.pick(&[0, 5, 30, 90]),
            repeat_percent: *random.pick(&[0, 20, 60]),
            delay_max_millis: *random.pick(&[1, 50, 2_000, 60_000]),
            skew_max_millis: *random.pick(&[1, 500, 50_000, 400_000]),
            tick_millis: *random.pick(&[1, 100, 10_000]),
            limits: GateLimits {
                author_messages_max: *random.pick(&[3, 100]),
                ..GateLimits::default()
            },
        }
    }
}

pub(super) enum Event {
    Write {
        node: usize,
    },
    /// Ask the pacer of the process that was started at this time.
    Pace {
        node: usize,
        started: u64,
    },
    Arrive {
        to: usize,
        message: Rc<Message>,
        neighbour: usize,
    },
    Restart {
        node: usize,
    },
    StepWall {
        node: usize,
    },
    Doom {
        node: usize,
    },
}

pub(super) struct Message {
    pub(super) author: NodeId,
    pub(super) sequence: u64,
    pub(super) data: Vec<u8>,
}

/// What dies with the process.
pub(super) struct Process<R> {
    pub(super) rules: R,
    pub(super) gate: Gate,
    pub(super) pacer: Pacer,
    pub(super) sequence: u64,
    pub(super) started: u64,
    /// It dies in its next write.
    pub(super) doomed: bool,
}

pub(super) struct Host<R> {
    pub(super) id: NodeId,
    pub(super) store: MemoryStore,
    pub(super) skew_millis: i64,
    pub(super) process: Option<Process<R>>,
}
