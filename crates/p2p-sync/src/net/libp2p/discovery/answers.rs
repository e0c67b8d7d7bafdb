//! When this node announces itself: twice at startup, and when it is queried, but at most once a second per link (RFC 6762,
//! section 6), whoever asks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::sockets::Place;
use super::wire::Query;
use crate::throttle::Throttle;

/// How long others keep silent about what was just said.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long who knows more than it lists is taken to have heard of us: less than half the time for which we are remembered.
const HEARD_FOR: Duration = Duration::from_secs(55);
/// Answers that others may give too come at different moments, between these, so that they do not collide.
const SHARED_DELAY: Duration = Duration::from_millis(20);
const SHARED_SPREAD: Duration = Duration::from_millis(100);
/// What each instance that is known adds to that, up to a bound: a crowd must not answer all at once.
const SPREAD_PER_INSTANCE: Duration = Duration::from_millis(5);
const SPREAD_MAX: Duration = Duration::from_secs(1);
/// Answers to single resolvers in each second.
const LEGACY_PER_SECOND_MAX: u32 = 10;

#[derive(Debug, Default)]
struct OnPlace {
    due: Option<Instant>,
    /// The second announcement.
    again: Option<Instant>,
    last: Option<Instant>,
    all_services: bool,
}

/// The answers that are still to be given.
pub(super) struct Answers {
    places: BTreeMap<Place, OnPlace>,
    legacy: Throttle<Instant>,
    chance: Box<dyn FnMut(Duration) -> Duration + Send>,
}

impl Answers {
    /// `chance` gives a time below its argument.
    pub(super) fn new(chance: impl FnMut(Duration) -> Duration + Send + 'static) -> Self {
        Self {
            places: BTreeMap::new(),
            legacy: Throttle::new(LEGACY_PER_SECOND_MAX, Duration::from_secs(1)),
            chance: Box::new(chance),
        }
    }

    /// A socket was opened: whoever is there is to hear of us.
    pub(super) fn announce(&mut self, place: Place, now: Instant) {
        let on = self.places.entry(place).or_default();
        *on = OnPlace {
            due: Some(now),
            again: Some(now + INTERVAL_MIN),
            ..OnPlace::default()
        };
    }

    /// Somebody asks, where so many instances are known.
    pub(super) fn asked(&mut self, place: Place, query: &Query, crowd: usize, now: Instant) {
        let delay = if query.is_for_us_alone {
            Duration::ZERO
        } else {
            let crowd = u32::try_from(crowd).unwrap_or(u32::MAX);
            let spread = SPREAD_PER_INSTANCE
                .saturating_mul(crowd)
                .clamp(SHARED_SPREAD, SPREAD_MAX);
            SHARED_DELAY + (self.chance)(spread)
        };
        let on = self.places.entry(place).or_default();
        let is_browsing = !query.is_for_us_alone && !query.of_all_services;
        let spoke_lately = on
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < HEARD_FOR);
        if is_browsing && query.knows_more && spoke_lately {
            return;
        }
        let earliest = on.last.map_or(now, |last| last + INTERVAL_MIN);
        let due = (now + delay).max(earliest);
        on.due = Some(on.due.map_or(due, |before| before.min(due)));
        on.all_services |= query.of_all_services;
    }

    /// Only there is a socket: nothing is to be said elsewhere any more. Interfaces come and go by the thousand where containers do.
    pub(super) fn keep(&mut self, is_open: impl Fn(&Place) -> bool) {
        self.places.retain(|place, _| is_open(place));
    }

    /// Whether one more resolver may be answered at its own address.
    pub(super) fn allows_legacy(&mut self, now: Instant) -> bool {
        self.legacy.allows(now)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.places.values().flat_map(|on| [on.due, on.again]).flatten().min()
    }

    /// Where to speak now, and whether to name our kind of service among all.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(Place, bool)> {
        let mut places = Vec::new();
        for (place, on) in &mut self.places {
            let is_due = on.due.take_if(|due| *due <= now).is_some();
            if is_due | on.again.take_if(|again| *again <= now).is_some() {
                on.last = Some(now);
                places.push((*place, std::mem::take(&mut on.all_services)));
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::super::sockets::Family;
    use super::super::wire::tests::browsing;
    use super::*;

    #[test]
    fn whoever_asks_all_the_time_is_answered_once_a_second() {
        let (start, place) = (
            Instant::now(),
            Place {
                index: 1,
                family: Family::V4,
            },
        );
        let mut answers = Answers::new(|below| below / 2);
        let mut times = Vec::new();
        for step in 0..400 {
            let now = start + Duration::from_millis(10) * step;
            answers.asked(place, &browsing(), 0, now);
            if !answers.take_due(now).is_empty() {
                times.push(step * 10);
            }
        }
        assert_eq!(times, [70, 1070, 2070, 3070]);
    }

    #[test]
    fn a_crowd_answers_within_a_second_and_a_few_within_a_tenth() {
        let (start, place) = (
            Instant::now(),
            Place {
                index: 1,
                family: Family::V4,
            },
        );
        let latest = |crowd| {
            let mut answers = Answers::new(|below| below);
            answers.asked(place, &browsing(), crowd, start);
            answers.next().unwrap() - start
        };
        assert_eq!(
            [0, 20, 100, 1_000].map(latest),
            [120, 120, 520, 1_020].map(Duration::from_millis)
        );
    }

    #[test]
    fn who_knows_more_than_it_lists_is_answered_seldom() {
        let (start, place) = (
            Instant::now(),
            Place {
                index: 1,
                family: Family::V4,
            },
        );
        let mut answers = Answers::new(|_| Duration::ZERO);
        let mut query = browsing();
        query.knows_more = true;
        let mut times = Vec::new();
        for step in 0..100 {
            let now = start + Duration::from_secs(step);
            answers.asked(place, &query, 0, now);
            if !answers.take_due(now + SHARED_DELAY).is_empty() {
                times.push(step);
            }
        }
        assert_eq!(times, [0, 56]);
    }

    #[test]
    fn who_comes_is_announced_twice() {
        let (start, place) = (
            Instant::now(),
            Place {
                index: 1,
                family: Family::V6,
            },
        );
        let mut answers = Answers::new(|_| Duration::ZERO);
        answers.announce(place, start);
        assert_eq!(answers.take_due(start), [(place, false)]);
        assert_eq!(answers.next(), Some(start + INTERVAL_MIN));
        assert_eq!(answers.take_due(start + INTERVAL_MIN), [(place, false)]);
        assert_eq!(answers.next(), None);
    }

    #[test]
    fn single_resolvers_are_answered_ten_times_a_second() {
        let start = Instant::now();
        let mut answers = Answers::new(|_| Duration::ZERO);
        let count = |answers: &mut Answers, at| (0..50).filter(|_| answers.allows_legacy(at)).count();
        assert_eq!(count(&mut answers, start), 10);
        assert_eq!(count(&mut answers, start + Duration::from_secs(1)), 10);
    }
}
