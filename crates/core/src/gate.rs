//! All checks of a gossip message before any disk access: size, rate, format, clock. The [`replica`](crate::replica) merges
//! the records in it; the caller counts and logs refusals.
//!
//! Who is charged for a message: its author, if the author delivers it itself or its sequence number is above all earlier
//! ones of that author; otherwise the neighbour that forwarded it, since anyone can replay another's signed messages. The
//! charge for a new message that turns out to change nothing is also moved to the neighbour. So nobody can use up another
//! peer's budget, and a replayer uses up its own.

use std::fmt;
use std::time::Duration;

use crate::admission::Admission;
use crate::id::NodeId;
use crate::limiter::{Limiter, Tag};
use crate::limits::{
    AUTHOR_MESSAGES_CEILING, AUTHOR_MESSAGES_MAX, AUTHOR_WINDOW, LIMITED_NEIGHBOURS_MAX, LIMITED_PEERS_MAX,
    MESSAGE_BYTES_MAX, NEIGHBOUR_STALE_MESSAGES_MAX,
};
use crate::membership::{Roster, SignedRecords, Standing};
use crate::message::{InvalidMessage, decode, decode_signed};
use crate::record::{InvalidKey, Record, ValueTooLarge};
use crate::time::{Timestamp, Uptime};

/// What the gate measures against. The default is the protocol's; see [`limits`](crate::limits) for the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateLimits {
    /// Messages accepted from one author within the window.
    pub author_messages_max: usize,
    /// The window, for authors and neighbours alike.
    pub author_window: Duration,
    /// Stale messages accepted from one neighbour within the window.
    pub neighbour_stale_messages_max: usize,
}

impl GateLimits {
    /// The protocol's limits, except for the messages accepted from one author: at least one and at most
    /// [`AUTHOR_MESSAGES_CEILING`].
    pub fn with_author_messages(author_messages_max: usize) -> Self {
        Self {
            author_messages_max: author_messages_max.clamp(1, AUTHOR_MESSAGES_CEILING),
            ..Self::default()
        }
    }

    /// Authors whose windows are remembered: the higher the limit, the fewer, for the same memory.
    fn authors_max(&self) -> usize {
        (LIMITED_PEERS_MAX * AUTHOR_MESSAGES_MAX / self.author_messages_max.max(1)).min(LIMITED_PEERS_MAX)
    }
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            author_messages_max: AUTHOR_MESSAGES_MAX,
            author_window: AUTHOR_WINDOW,
            neighbour_stale_messages_max: NEIGHBOUR_STALE_MESSAGES_MAX,
        }
    }
}

/// A gossip message whose signature has been verified.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Who signed it.
    pub author: NodeId,
    /// Who delivered it: the author, or a peer that forwarded it.
    pub neighbour: NodeId,
    /// The author's sequence number. Without one nothing shows that the message is new.
    pub sequence: Option<u64>,
    /// What it says.
    pub data: &'a [u8],
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Merge these records, one or more, and forward the message.
    Accept(Vec<Record>),
    /// Neither use nor forward it; it may be nobody's fault, and sync can deliver what is legitimate in it.
    Ignore(Refusal),
    /// Neither use nor forward it: no honest node sends such a message.
    Reject(Refusal),
}

/// Why a message was refused. Nothing in it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A budget is used up.
    RateLimited {
        /// Whose: the author's or the neighbour's.
        peer: NodeId,
    },
    /// It has more than [`MESSAGE_BYTES_MAX`] bytes.
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// It is not a message. The text is escaped and short.
    Malformed(String),
    /// A key in it breaks a rule.
    InvalidKey(InvalidKey),
    /// A value in it is too large.
    InvalidValue(ValueTooLarge),
    /// A record in it is too far ahead of our clock.
    Future {
        /// How far the furthest is ahead.
        ahead: Duration,
    },
    /// Its author is not known as a member of the private network; a session may bring what is legitimate in it, and who that is.
    UnknownAuthor,
    /// Its author may not write in the private network.
    NotPermitted,
    /// A record in it is not signed by its author.
    WrongSignature,
}

/// The kind of a refusal, to count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A budget is used up.
    RateLimited,
    /// The message is larger than allowed.
    TooLarge,
    /// It is not a message.
    Invalid,
    /// A key in it breaks a rule.
    InvalidKey,
    /// A value in it is too large.
    InvalidValue,
    /// A record in it is too far ahead of our clock.
    Future,
    /// Its author is not known as a member.
    UnknownAuthor,
    /// Its author may not write.
    NotPermitted,
    /// A record in it is not signed by its author.
    WrongSignature,
}

impl Refusal {
    /// What to count it as.
    pub fn cause(&self) -> Cause {
        match self {
            Self::RateLimited { .. } => Cause::RateLimited,
            Self::TooLarge { .. } => Cause::TooLarge,
            Self::Malformed(_) => Cause::Invalid,
            Self::InvalidKey(_) => Cause::InvalidKey,
            Self::InvalidValue(_) => Cause::InvalidValue,
            Self::Future { .. } => Cause::Future,
            Self::UnknownAuthor => Cause::UnknownAuthor,
            Self::NotPermitted => Cause::NotPermitted,
            Self::WrongSignature => Cause::WrongSignature,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RateLimited => "rate limited",
            Self::TooLarge => "message too large",
            Self::Invalid => "invalid message",
            Self::InvalidKey => "invalid key",
            Self::InvalidValue => "invalid value",
            Self::Future => "too far ahead",
            Self::UnknownAuthor => "unknown author",
            Self::NotPermitted => "not permitted",
            Self::WrongSignature => "bad signature",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RateLimited { peer } => write!(f, "{peer} has used up its message budget"),
            Self::TooLarge { bytes } => write!(
                f,
                "the message has {bytes} bytes, at most {MESSAGE_BYTES_MAX} are allowed"
            ),
            Self::Malformed(why) => f.write_str(why),
            Self::InvalidKey(error) => error.fmt(f),
            Self::InvalidValue(error) => error.fmt(f),
            Self::Future { ahead } => write!(f, "a record is {:.1} s ahead of our clock", ahead.as_secs_f64()),
            Self::UnknownAuthor => f.write_str("its author is not known as a member of this network"),
            Self::NotPermitted => f.write_str("its author may not write in this network"),
            Self::WrongSignature => f.write_str("a record in it is not signed by its author"),
        }
    }
}

/// Marks a neighbour's charge for a message that is known to have changed nothing, so that it counts for that message only.
const SETTLED: Tag = Tag(0);

/// The gate of one node. Its memory is bounded, whoever sends.
#[derive(Debug, Clone)]
pub struct Gate {
    authors: Limiter,
    neighbours: Limiter,
}

impl Gate {
    /// A gate that has seen nothing yet.
    pub fn new(limits: GateLimits) -> Self {
        Self {
            authors: Limiter::new(limits.author_messages_max, limits.author_window, limits.authors_max()),
            neighbours: Limiter::new(
                limits.neighbour_stale_messages_max,
                limits.author_window,
                LIMITED_NEIGHBOURS_MAX,
            ),
        }
    }

    /// Decides about a message that arrived at `now` by our wall clock and `uptime` by the clock that never steps.
    ///
    /// Everything except an oversized or rate-limited message is charged, so that an invalid message costs its sender as
    /// much as a valid one. Work and memory are bounded by the size of the message.
    pub fn judge(&mut self, arrival: Arrival<'_>, now: Timestamp, uptime: Uptime) -> Verdict {
        self.judge_in(None, arrival, now, uptime)
    }

    /// As [`judge`](Self::judge) in an open network; in a private one, by its `roster`, the author must be one that may write, and
    /// must have signed each record. The signatures come last: they cost more than everything before.
    pub fn judge_in(
        &mut self,
        roster: Option<&Roster>,
        arrival: Arrival<'_>,
        now: Timestamp,
        uptime: Uptime,
    ) -> Verdict {
        let Arrival {
            author,
            neighbour,
            sequence,
            data,
        } = arrival;
        if data.len() > MESSAGE_BYTES_MAX {
            return Verdict::Reject(Refusal::TooLarge { bytes: data.len() });
        }
        let is_new = sequence.is_some_and(|sequence| self.authors.is_new(author, sequence, uptime));
        let (payer, has_room) = if is_new || author == neighbour {
            (author, self.authors.charge(author, Tag::of(neighbour), uptime))
        } else {
            (neighbour, self.neighbours.charge(neighbour, Tag::of(author), uptime))
        };
        if !has_room {
            return Verdict::Ignore(Refusal::RateLimited { peer: payer });
        }
        // Who signed the message was verified on arrival.
        match roster.map(|roster| roster.author(&author)) {
            None | Some(Standing::Counts) => {}
            Some(Standing::Unknown) => return Verdict::Ignore(Refusal::UnknownAuthor),
            Some(Standing::MayNotWrite) => return Verdict::Ignore(Refusal::NotPermitted),
        }
        let decoded = if roster.is_some() {
            decode_signed(data)
        } else {
            decode(data)
        };
        let changes = match decoded {
            Ok(changes) => changes,
            Err(error) => return refuse(error),
        };
        let timestamps = changes.iter().map(|change| &change.timestamp);
        if let Some(ahead) = Admission::at(now).too_far_ahead(timestamps) {
            return Verdict::Ignore(Refusal::Future { ahead });
        }
        let mut records: Vec<Record> = changes.into_iter().map(|change| change.by(author)).collect();
        if let Some(roster) = roster
            && SignedRecords::of(roster.network()).verify_all(&mut records).is_err()
        {
            return Verdict::Reject(Refusal::WrongSignature);
        }
        Verdict::Accept(records)
    }

    /// An accepted message of `author`, delivered by `neighbour`, has changed nothing: moves its charge to the neighbour.
    ///
    /// The charge stays where it is when the neighbour paid on arrival, is the author itself, or has no budget left:
    /// otherwise two colluding peers could send each other's messages endlessly.
    pub fn changed_nothing(&mut self, author: NodeId, neighbour: NodeId, uptime: Uptime) {
        if author == neighbour || self.neighbours.retag(neighbour, Tag::of(author), SETTLED) {
            return;
        }
        let tag = Tag::of(neighbour);
        if self.authors.has_charge(author, tag, uptime) && self.neighbours.charge(neighbour, SETTLED, uptime) {
            self.authors.refund(author, tag);
        }
    }
}

fn refuse(error: InvalidMessage) -> Verdict {
    match error {
        // A newer version may know it, so its sender did nothing wrong.
        InvalidMessage::UnknownKind => Verdict::Ignore(Refusal::Malformed(error.to_string())),
        InvalidMessage::TooLarge { bytes } => Verdict::Reject(Refusal::TooLarge { bytes }),
        InvalidMessage::Malformed(why) => Verdict::Reject(Refusal::Malformed(why)),
        InvalidMessage::Key(error) => Verdict::Reject(Refusal::InvalidKey(error)),
        InvalidMessage::Value(error) => Verdict::Reject(Refusal::InvalidValue(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FUTURE_MAX;

    const PUT: &[u8] = br#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"}}"#;

    fn peer(number: u8) -> NodeId {
        NodeId::from_bytes(&[number; 38]).unwrap()
    }

    #[test]
    fn a_higher_limit_costs_no_more_memory() {
        for limit in [0, 1, 100, 101, 6_000, usize::MAX] {
            let limits = GateLimits::with_author_messages(limit);
            assert!((1..=AUTHOR_MESSAGES_CEILING).contains(&limits.author_messages_max));
            assert!((1..=LIMITED_PEERS_MAX).contains(&limits.authors_max()));
            assert!(limits.authors_max() * limits.author_messages_max <= LIMITED_PEERS_MAX * AUTHOR_MESSAGES_MAX);
        }
        assert_eq!(
            GateLimits::with_author_messages(AUTHOR_MESSAGES_MAX),
            GateLimits::default()
        );
        assert_eq!(GateLimits::default().authors_max(), LIMITED_PEERS_MAX);
    }

    fn now() -> Timestamp {
        "2025-01-04T08:30:15Z".parse().unwrap()
    }

    fn at(seconds: u64) -> Uptime {
        Uptime(Duration::from_secs(seconds))
    }

    fn arrival(author: u8, neighbour: u8, sequence: u64, data: &[u8]) -> Arrival<'_> {
        Arrival {
            author: peer(author),
            neighbour: peer(neighbour),
            sequence: Some(sequence),
            data,
        }
    }

    fn small() -> Gate {
        Gate::new(GateLimits {
            author_messages_max: 3,
            neighbour_stale_messages_max: 5,
            ..GateLimits::default()
        })
    }

    fn limited(number: u8) -> Verdict {
        Verdict::Ignore(Refusal::RateLimited { peer: peer(number) })
    }

    fn accepted(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Accept(_))
    }

    #[test]
    fn a_message_becomes_records_of_its_author() {
        let Verdict::Accept(records) = small().judge(arrival(1, 2, 1, PUT), now(), at(0)) else {
            panic!("refused")
        };
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].key.as_str(), records[0].author), ("hello", peer(1)));
    }

    #[test]
    fn an_author_pays_for_what_is_new() {
        let mut gate = small();
        for sequence in 1..=3 {
            assert!(accepted(&gate.judge(arrival(1, 2, sequence, PUT), now(), at(0))));
        }
        assert_eq!(gate.judge(arrival(1, 2, 4, PUT), now(), at(60)), limited(1));
        assert!(
            accepted(&gate.judge(arrival(3, 2, 1, PUT), now(), at(60))),
            "the neighbour did not pay"
        );
        assert!(accepted(&gate.judge(arrival(1, 2, 5, PUT), now(), at(61))));
    }

    #[test]
    fn a_neighbour_pays_for_what_was_there_before() {
        let mut gate = small();
        assert!(accepted(&gate.judge(arrival(1, 2, 9, PUT), now(), at(0))));
        for sequence in [9, 8, 7, 9, 0] {
            assert!(
                accepted(&gate.judge(arrival(1, 2, sequence, PUT), now(), at(0))),
                "late, but let in"
            );
        }
        assert_eq!(gate.judge(arrival(1, 2, 9, PUT), now(), at(0)), limited(2));
        assert_eq!(
            gate.judge(
                Arrival {
                    sequence: None,
                    ..arrival(3, 2, 0, PUT)
                },
                now(),
                at(0)
            ),
            limited(2)
        );
        assert!(
            accepted(&gate.judge(arrival(1, 2, 10, PUT), now(), at(0))),
            "the author's own budget is untouched"
        );
    }

    #[test]
    fn what_changed_nothing_moves_to_the_neighbour() {
        let mut gate = small();
        for sequence in 1..=5 {
            assert!(
                accepted(&gate.judge(arrival(1, 2, sequence, PUT), now(), at(0))),
                "{sequence}"
            );
            gate.changed_nothing(peer(1), peer(2), at(0));
        }
        for sequence in 6..=8 {
            assert!(
                accepted(&gate.judge(arrival(1, 2, sequence, PUT), now(), at(0))),
                "{sequence}"
            );
            gate.changed_nothing(peer(1), peer(2), at(0));
        }
        assert_eq!(
            gate.judge(arrival(1, 2, 9, PUT), now(), at(0)),
            limited(1),
            "the neighbour's account was full"
        );
        assert_eq!(gate.judge(arrival(1, 2, 9, PUT), now(), at(0)), limited(2));
    }

    #[test]
    fn only_the_charge_of_that_message_moves() {
        let mut gate = small();
        for sequence in 1..=3 {
            assert!(accepted(&gate.judge(arrival(1, 2, sequence, PUT), now(), at(0))));
        }
        assert!(
            accepted(&gate.judge(arrival(1, 4, 3, PUT), now(), at(0))),
            "a replay, charged to its neighbour"
        );
        gate.changed_nothing(peer(1), peer(4), at(0));
        assert_eq!(
            gate.judge(arrival(1, 2, 4, PUT), now(), at(0)),
            limited(1),
            "nobody frees another's budget by replaying"
        );
        assert!(
            accepted(&gate.judge(arrival(1, 2, 3, PUT), now(), at(0))),
            "a replay by its first neighbour"
        );
        gate.changed_nothing(peer(1), peer(2), at(0));
        assert_eq!(
            gate.judge(arrival(1, 2, 5, PUT), now(), at(0)),
            limited(1),
            "nor the budget of a friend"
        );
        let mut gate = small();
        for sequence in [3, 2, 1] {
            assert!(
                accepted(&gate.judge(arrival(1, 1, sequence, PUT), now(), at(0))),
                "stale, but at its own expense"
            );
            gate.changed_nothing(peer(1), peer(1), at(0));
        }
        assert_eq!(
            gate.judge(arrival(1, 1, 4, PUT), now(), at(0)),
            limited(1),
            "an author is not its own neighbour"
        );
    }

    #[test]
    fn a_neighbour_pays_once_for_what_changed_nothing() {
        let mut gate = small();
        for sequence in [9, 3, 2] {
            assert!(accepted(&gate.judge(arrival(1, 2, sequence, PUT), now(), at(0))));
        }
        // Two stale ones that were paid on arrival, a new one that moves, and nothing that could be paid for.
        (0..10).for_each(|_| gate.changed_nothing(peer(1), peer(2), at(0)));
        for _ in 0..2 {
            assert!(accepted(&gate.judge(arrival(1, 2, 1, PUT), now(), at(0))));
        }
        assert_eq!(
            gate.judge(arrival(1, 2, 1, PUT), now(), at(0)),
            limited(2),
            "five in all"
        );
    }

    #[test]
    fn nonsense_is_rejected_and_costs_as_much_as_sense() {
        let mut gate = small();
        let long_key = format!(
            r#"{{"Delete":{{"key":"{}","timestamp":"2025-01-04T08:30:15Z"}}}}"#,
            "k".repeat(257)
        );
        let verdict = gate.judge(arrival(1, 2, 1, long_key.as_bytes()), now(), at(0));
        assert_eq!(
            verdict,
            Verdict::Reject(Refusal::InvalidKey(InvalidKey::TooLong { bytes: 257 }))
        );
        let verdict = gate.judge(arrival(1, 2, 2, b"hello"), now(), at(0));
        assert!(
            matches!(&verdict, Verdict::Reject(refusal) if refusal.cause() == Cause::Invalid),
            "{verdict:?}"
        );
        let verdict = gate.judge(arrival(1, 2, 3, br#"{"Rename":{}}"#), now(), at(0));
        assert!(
            matches!(&verdict, Verdict::Ignore(refusal) if refusal.cause() == Cause::Invalid),
            "{verdict:?}"
        );
        assert_eq!(gate.judge(arrival(1, 2, 4, PUT), now(), at(0)), limited(1));
    }

    #[test]
    fn size_comes_before_everything_and_the_clock_last() {
        let mut gate = small();
        let large = vec![b' '; MESSAGE_BYTES_MAX + 1];
        let verdict = gate.judge(arrival(1, 2, 1, &large), now(), at(0));
        assert_eq!(
            verdict,
            Verdict::Reject(Refusal::TooLarge {
                bytes: MESSAGE_BYTES_MAX + 1
            })
        );
        let early: Timestamp = "2025-01-04T08:28:15Z".parse().unwrap();
        assert!(
            accepted(&gate.judge(arrival(1, 2, 1, PUT), early, at(0))),
            "120 s ahead is allowed"
        );
        let verdict = gate.judge(
            arrival(1, 2, 2, PUT),
            Timestamp::from_nanos(early.as_nanos() - 1).unwrap(),
            at(0),
        );
        assert_eq!(
            verdict,
            Verdict::Ignore(Refusal::Future {
                ahead: FUTURE_MAX + Duration::from_nanos(1)
            })
        );
    }
}
