//! Instants as types: [`Timestamp`] for the wall clock and the versions it stamps, [`Uptime`] for windows and intervals. The
//! caller reads the time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ::time::format_description::well_known::Rfc3339;
use ::time::{Month, OffsetDateTime, UtcOffset};

/// Nanoseconds since the Unix epoch, UTC: 1 to 2^63 − 1 (the year 2262). The text form is RFC 3339 with up to nine
/// fractional digits, and loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A number outside 1 to 2^63 − 1, or a text that is not an RFC 3339 instant in that range and of that precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a timestamp: expected RFC 3339 such as 2025-01-04T08:30:15Z, from 1970 to 2262")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// The first nanosecond after the epoch.
    pub const MIN: Self = Self(1);
    /// The last instant that can be expressed, in the year 2262.
    pub const MAX: Self = Self(i64::MAX);

    /// From nanoseconds since the epoch.
    ///
    /// # Errors
    /// If `nanos` is zero or negative.
    pub fn from_nanos(nanos: i64) -> Result<Self, InvalidTimestamp> {
        if nanos >= 1 {
            Ok(Self(nanos))
        } else {
            Err(InvalidTimestamp)
        }
    }

    /// From the time since the epoch, clamped to the range: a clock set before 1970 gives [`Self::MIN`].
    pub fn from_epoch(distance: Duration) -> Self {
        Self(i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX).max(1))
    }

    /// Nanoseconds since the epoch.
    pub fn as_nanos(self) -> i64 {
        self.0
    }

    /// The next nanosecond; none after [`Self::MAX`].
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The nanosecond before; none before [`Self::MIN`].
    pub fn previous(self) -> Option<Self> {
        (self > Self::MIN).then(|| Self(self.0 - 1))
    }

    /// Later by `distance`, at most [`Self::MAX`].
    #[must_use]
    pub fn saturating_add(self, distance: Duration) -> Self {
        let nanos = i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Earlier by `distance`, at least [`Self::MIN`].
    #[must_use]
    pub fn saturating_sub(self, distance: Duration) -> Self {
        let nanos = i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(nanos)).max(Self::MIN)
    }

    /// How much later than `earlier` this is; zero if it is not.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Fractional digits of a second that a timestamp can hold.
const NANOSECOND_DIGITS: usize = 9;

fn format_nanos(nanos: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let instant = OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos)).map_err(|_| fmt::Error)?;
    f.write_str(&instant.format(&Rfc3339).map_err(|_| fmt::Error)?)
}

/// Parses RFC 3339, and the unambiguous variants that common programs write; see [`Written`]. Two nodes must never read one
/// text as two instants, so anything that a timestamp cannot hold is refused.
fn parse_nanos(text: &str) -> Result<i64, InvalidTimestamp> {
    let written = Written::split(text).ok_or(InvalidTimestamp)?;
    let is_leap_second = written.seconds == LEAP_SECOND;
    let instant = OffsetDateTime::parse(&written.to_rfc3339(), &Rfc3339).map_err(|_| InvalidTimestamp)?;
    if is_leap_second && !is_before_leap_second(instant) {
        return Err(InvalidTimestamp);
    }
    i64::try_from(instant.unix_timestamp_nanos()).map_err(|_| InvalidTimestamp)
}

const LEAP_SECOND: &str = "60";

/// A text for an instant, cut into its parts. Beyond RFC 3339, these are accepted: no seconds if they are zero (Java's
/// `toString` omits them), a comma before the fraction, and offsets without a colon or without minutes (all in ISO 8601).
struct Written<'a> {
    /// Up to the minute.
    date_and_time: &'a str,
    seconds: &'a str,
    /// Digits, at most [`NANOSECOND_DIGITS`]: what follows would be lost. Empty if there is none.
    fraction: &'a str,
    /// Z, or the sign.
    zone: char,
    /// Two digits each; none with Z.
    offset: Option<(&'a str, &'a str)>,
}

impl<'a> Written<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let (date_and_time, mut rest) = text.split_at_checked(16)?;
        // The parser accepts any character there.
        if !matches!(date_and_time.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
            return None;
        }
        let (mut seconds, mut fraction) = ("00", "");
        if let Some(behind) = rest.strip_prefix(':') {
            (seconds, rest) = behind.split_at_checked(2)?;
            if let Some(behind) = rest.strip_prefix(['.', ',']) {
                let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
                (fraction, rest) = behind.split_at_checked(digits)?;
                if !(1..=NANOSECOND_DIGITS).contains(&digits) {
                    return None;
                }
            }
        }
        let zone = rest.chars().next()?;
        let offset = match (zone, rest.get(1..)?) {
            ('Z' | 'z', "") => None,
            ('+' | '-', digits) => {
                let (hours, rest) = digits.split_at_checked(2)?;
                let minutes = if rest.is_empty() {
                    "00"
                } else {
                    rest.strip_prefix(':').unwrap_or(rest)
                };
                Some((hours, minutes))
            }
            _ => return None,
        };
        Some(Self {
            date_and_time,
            seconds,
            fraction,
            zone,
            offset,
        })
    }

    /// As RFC 3339; a leap second becomes the last nanosecond of the second before it.
    fn to_rfc3339(&self) -> String {
        let (seconds, fraction) = if self.seconds == LEAP_SECOND {
            ("59", "999999999")
        } else {
            (self.seconds, self.fraction)
        };
        let point = if fraction.is_empty() { "" } else { "." };
        let mut text = format!("{}:{seconds}{point}{fraction}{}", self.date_and_time, self.zone);
        if let Some((hours, minutes)) = self.offset {
            text.push_str(hours);
            text.push(':');
            text.push_str(minutes);
        }
        text
    }
}

/// The years in which a second was inserted at the end of 30 June, UTC: all there have been by the end of 2026 (IERS,
/// Bulletin C).
const LEAP_SECONDS_OF_JUNE: [i32; 11] = [1972, 1981, 1982, 1983, 1985, 1992, 1993, 1994, 1997, 2012, 2015];
/// The same for 31 December.
const LEAP_SECONDS_OF_DECEMBER: [i32; 16] = [
    1972, 1973, 1974, 1975, 1976, 1977, 1978, 1979, 1987, 1989, 1990, 1995, 1998, 2005, 2008, 2016,
];

/// Whether it lies in the second before a leap second.
fn is_before_leap_second(instant: OffsetDateTime) -> bool {
    let utc = instant.to_offset(UtcOffset::UTC);
    let years: &[i32] = match (utc.month(), utc.day()) {
        (Month::June, 30) => &LEAP_SECONDS_OF_JUNE,
        (Month::December, 31) => &LEAP_SECONDS_OF_DECEMBER,
        _ => return false,
    };
    years.contains(&utc.year()) && (utc.hour(), utc.minute(), utc.second()) == (23, 59, 59)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        format_nanos(self.0, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_nanos(parse_nanos(text)?)
    }
}

/// How long the process has been running, by a clock that never steps: for windows and intervals only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uptime(pub Duration);

impl Uptime {
    /// Later by `distance`.
    #[must_use]
    pub fn after(self, distance: Duration) -> Self {
        Self(self.0.saturating_add(distance))
    }

    /// How much later than `earlier` this is; zero if it is not.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_survive_the_text_form() {
        for (nanos, text) in [
            (1_735_979_415_000_000_000, "2025-01-04T08:30:15Z"),
            (1_735_979_416_000_000_001, "2025-01-04T08:30:16.000000001Z"),
            (1_735_979_415_120_000_000, "2025-01-04T08:30:15.12Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        ] {
            let timestamp = Timestamp::from_nanos(nanos).unwrap();
            assert_eq!(timestamp.to_string(), text);
            assert_eq!(text.parse(), Ok(timestamp));
        }
    }

    #[test]
    fn other_offsets_are_the_same_instant() {
        let utc: Timestamp = "2025-01-04T08:30:15Z".parse().unwrap();
        assert_eq!("2025-01-04T17:30:15+09:00".parse(), Ok(utc));
    }

    #[test]
    fn what_other_programs_write_and_cannot_be_misread_is_taken() {
        for (text, same) in [
            ("2025-01-04T08:30:15+0000", "2025-01-04T08:30:15Z"),
            ("2025-01-04T08:30:15+00", "2025-01-04T08:30:15Z"),
            ("2025-01-04T17:30:15.5+0900", "2025-01-04T08:30:15.5Z"),
            ("2025-01-04T03:00:15-0530", "2025-01-04T08:30:15Z"),
            ("2025-01-04T08:30:15-00:00", "2025-01-04T08:30:15Z"),
            ("2025-01-04T08:30:15,123456789Z", "2025-01-04T08:30:15.123456789Z"),
            ("2025-01-04 08:30:15,12+00", "2025-01-04T08:30:15.12Z"),
            ("2025-01-04T08:30Z", "2025-01-04T08:30:00Z"),
            ("2025-01-04T08:30+00:00", "2025-01-04T08:30:00Z"),
            ("2025-01-04T08:30-01", "2025-01-04T09:30:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999999Z"),
            ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.999999999Z"),
            ("2017-01-01T08:59:60+0900", "2016-12-31T23:59:59.999999999Z"),
            ("2015-06-30T23:59:60,0Z", "2015-06-30T23:59:59.999999999Z"),
            ("1972-06-30T23:59:60Z", "1972-06-30T23:59:59.999999999Z"),
        ] {
            let same: Timestamp = same.parse().unwrap();
            assert_eq!(text.parse(), Ok(same), "{text}");
        }
    }

    #[test]
    fn a_second_is_a_leap_second_only_where_one_was_inserted() {
        assert_eq!(LEAP_SECONDS_OF_JUNE.len() + LEAP_SECONDS_OF_DECEMBER.len(), 27);
        for text in [
            "2016-12-31T22:59:60Z",
            "2016-12-30T23:59:60Z",
            "2016-06-30T23:59:60Z",
            "2026-12-31T23:59:60Z",
            "2016-12-31T23:59:60+09:00",
            "2016-12-31T23:59:61Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for text in [
            "",
            "now",
            "2025-01-04",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2262-04-11T23:47:16.854775808Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_kept_exactly_is_refused() {
        for text in [
            "2025-01-04T08:30:15.1234567890Z",
            "2025-01-04T08:30:15.0000000000+09:00",
            "2025-01-04_08:30:15Z",
            "2025-01-04T08Z",
            "2025-01-04T0830Z",
            "20250104T083015Z",
            "2025-01-04T08:30:Z",
            "2025-01-04T08:30.5Z",
            "2025-01-04T08:30:15,Z",
            "2025-01-04T08:30:15+",
            "2025-01-04T08:30:15+0",
            "2025-01-04T08:30:15+000",
            "2025-01-04T08:30:15+00:0",
            "2025-01-04T08:30:15+00:00:00",
            "2025-01-04T08:30:15+0:00",
            "2025-01-04T08:30:15+24:00",
            "2025-01-04T08:30:15+09:60",
            "2025-01-04T08:30:15ZZ",
            "2025-01-04T08:30:15 +0000",
            "2025-01-04T08:30:15Z[UTC]",
            "2025-01-04T08:30:15\u{2212}01:00",
            "2025-W01-6T08:30:15Z",
            "2025-01-04T08:30:15",
            "2025-01-04T08:30:15.Z",
            "2025-01-04T08:30:15Z ",
            " 2025-01-04T08:30:15Z",
            "2025-02-30T08:30:15Z",
            "2025-01-04T24:00:00Z",
            "٢٠٢٥-01-04T08:30:15Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
        let exact: Timestamp = "2025-01-04T08:30:15.123456789Z".parse().unwrap();
        assert_eq!("2025-01-04 08:30:15.123456789+00:00".parse(), Ok(exact));
    }
}
