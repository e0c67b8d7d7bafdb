//! Events of a watch as the plain types that are written as JSON.

use super::{Event, Observed};
use crate::report::{Change, Origin, WatchEvent};

impl From<&Event> for WatchEvent {
    fn from(event: &Event) -> Self {
        match event {
            Event::Put(observed) => Self::Put(observed.into()),
            Event::Delete(observed) => Self::Delete(observed.into()),
            Event::Conflict(observed) => Self::Conflict(observed.into()),
            Event::Ready { cursor } => Self::Ready {
                cursor: cursor.to_string(),
            },
            Event::Reset => Self::Reset,
            Event::Heartbeat { cursor } => Self::Heartbeat {
                cursor: cursor.to_string(),
            },
        }
    }
}

impl From<&Observed> for Change {
    fn from(observed: &Observed) -> Self {
        Self {
            key: observed.record.key.as_str().to_owned(),
            version: (&observed.record).into(),
            cursor: observed.cursor.map(|cursor| cursor.to_string()),
            origin: if observed.is_local { Origin::Local } else { Origin::Peer },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use p2p_sync_core::{Content, Key, Record, Seen, Value};

    use super::*;
    use crate::report::{line, read};

    #[test]
    fn an_event_is_one_line_of_json() {
        let author = "12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa";
        let observed = |content, cursor: Option<&str>, is_local| Observed {
            record: Record {
                key: Key::new("k").unwrap(),
                content,
                timestamp: "2026-01-04T08:30:18Z".parse().unwrap(),
                author: author.parse().unwrap(),
                seen: Seen::NOTHING,
                signature: None,
            },
            cursor: cursor.map(|cursor| cursor.parse().unwrap()),
            is_local,
        };
        let cursor = "00000000000000ff-7";
        let tail = format!(r#""timestamp":"2026-01-04T08:30:18Z","author":"{author}""#);
        let put = Content::Put(Value::new(*b"v").unwrap());
        for (event, expected) in [
            (
                Event::Put(observed(put.clone(), None, true)),
                format!(r#"{{"event":"put","key":"k","value":"v",{tail},"origin":"local"}}"#),
            ),
            (
                Event::Delete(observed(Content::Deleted, Some(cursor), false)),
                format!(r#"{{"event":"delete","key":"k","deleted":true,{tail},"cursor":"{cursor}","origin":"peer"}}"#),
            ),
            (
                Event::Conflict(observed(put, Some(cursor), false)),
                format!(r#"{{"event":"conflict","key":"k","value":"v",{tail},"cursor":"{cursor}","origin":"peer"}}"#),
            ),
            (
                Event::Ready {
                    cursor: cursor.parse().unwrap(),
                },
                format!(r#"{{"event":"ready","cursor":"{cursor}"}}"#),
            ),
            (Event::Reset, r#"{"event":"reset"}"#.to_owned()),
        ] {
            let told = WatchEvent::from(&event);
            let written = line(&told);
            assert_eq!(written.trim_end(), expected);
            assert_eq!(read::<WatchEvent>(&written).unwrap(), told);
        }
    }
}
