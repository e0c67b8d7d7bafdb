//! The end of a pipe that wrote something: a user who starts a node just to add a value wants others to have it, so the
//! node waits briefly until a peer does, and says so if none does.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::output;
use crate::node::{Node, Standing, Synced};

/// How long it waits unless another time is chosen, in seconds. Peers of a LAN are found in less than one.
pub(super) const SECONDS: f64 = 3.0;
/// The longest time that can be chosen: an hour.
const SECONDS_MAX: f64 = 3_600.0;
/// How often it is asked whether there is a peer.
const PAUSE: Duration = Duration::from_millis(100);

/// A text that is no time to wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of seconds from 0 to {SECONDS_MAX}")]
pub(super) struct InvalidSeconds;

/// How long to wait, in seconds.
///
/// # Errors
/// When it is no number from 0 to [`SECONDS_MAX`].
pub(super) fn seconds(text: &str) -> Result<f64, InvalidSeconds> {
    let seconds: f64 = text
        .strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .map_err(|_| InvalidSeconds)?;
    // A number that is none is in no range.
    if (0.0..=SECONDS_MAX).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(InvalidSeconds)
    }
}

/// Waits until a peer has what was written, but no longer than that; says so if none has.
pub(super) async fn until_somebody_has_it(node: &Node, writes: u64, patience: Duration) {
    if writes == 0 || patience.is_zero() {
        return;
    }
    let deadline = Instant::now() + patience;
    let had = async {
        loop {
            // A session compares everything, so that whoever is found equal has it.
            match node.sync().await {
                Ok(peers) if peers.iter().any(has_it) => return,
                // The node has stopped or its store has failed, which is told elsewhere.
                Err(_) => return,
                Ok(_) => sleep(PAUSE).await,
            }
        }
    };
    if timeout_at(deadline, had).await.is_err() {
        let what = if writes == 1 {
            "1 change".to_owned()
        } else {
            format!("{writes} changes")
        };
        output::say(&format!(
            "No other node is known to have what was written ({what}). It is stored here, and syncs when a node runs \
             with this data directory again and meets others. To wait longer: --linger SECONDS"
        ));
    }
}

/// Whether a peer lacks nothing.
fn has_it(synced: &Synced) -> bool {
    match synced.standing {
        Standing::InSync | Standing::Waiting { .. } => true,
        Standing::Differs { ahead, .. } => ahead == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_a_number_of_seconds() {
        for (text, expected) in [("0", 0.0), ("3", 3.0), ("0.5", 0.5), ("10s", 10.0), ("3600", 3_600.0)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "-1", "3601", "NaN", "inf", "soon", "1m", "1ss"] {
            assert_eq!(seconds(text), Err(InvalidSeconds), "{text}");
        }
    }
}
