//! `wait`: returns once the node is as far as somebody needs it, for scripts that go on then.

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout_at};

use super::place::Place;
use super::{Failure, cannot_begin};
use crate::client::{Client, ClientError};
use crate::command::{Class, Command, CommandError, Reply, parse_words};
use crate::node::DataPaths;
use crate::report::{Status, SyncState};

/// How often the node is asked.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the first look may take, however little time there is: without it, nothing would be known.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Waits until the node runs, and until what is named holds
///
/// Without an option, waits until a node runs here and answers.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Wait {
    /// Waits until at least so many peers are connected
    #[arg(long, value_name = "N")]
    peers: Option<usize>,
    /// Waits until at least one peer is connected, and all of them have the same data as this node
    #[arg(long)]
    synced: bool,
    /// Waits until this key has a value
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// Gives up after this time, such as 500ms, 30s or 5m; 0 looks once
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

/// A duration with its unit; without one, in seconds.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let expected = "expected a duration such as 500ms, 30s, 5m or 1h";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| expected)?;
    let seconds = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => number / 1_000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(expected),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| expected)
}

impl Wait {
    /// Waits.
    ///
    /// # Errors
    /// When the time is over, or waiting has no use.
    pub(super) fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        let paths = place.paths()?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| cannot_begin(&error))?;
        runtime.block_on(self.wait(&paths)).map(|()| ExitCode::SUCCESS)
    }

    async fn wait(&self, paths: &DataPaths) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut missing = "no node answers".to_owned();
        let mut this_look = deadline.max(Instant::now() + FIRST_LOOK);
        loop {
            match timeout_at(this_look, self.missing(paths)).await {
                Ok(found) => match found? {
                    None => return Ok(()),
                    Some(what) => missing = what,
                },
                Err(_) => return Err(self.too_late(&missing)),
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(self.too_late(&missing));
            }
            this_look = deadline;
            sleep(PAUSE).await;
        }
    }

    fn too_late(&self, missing: &str) -> Failure {
        Failure::new(
            Class::TimedOut,
            format!("Waited {:?}, and still {missing}", self.timeout),
        )
    }

    /// What does not hold yet.
    async fn missing(&self, paths: &DataPaths) -> Result<Option<String>, Failure> {
        let Some(client) = Client::of(paths)? else {
            let what = format!("no node is running on {}", paths.directory().display());
            return Ok(Some(what));
        };
        let status = match ask(&client, &["status"]).await? {
            Some(Ok(Reply::Status(status))) => status,
            Some(Err(error)) => return Ok(Some(error.to_string())),
            _ => return Ok(Some("the node does not answer".to_owned())),
        };
        if let Some(what) = self.not_among_peers(&status) {
            return Ok(Some(what));
        }
        let Some(key) = &self.key else { return Ok(None) };
        match ask(&client, &["get", "--", key]).await? {
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) if error.class == Class::NotFound => Ok(Some(format!("{key} has no value"))),
            Some(Err(error)) => Err(error.into()),
            None => Ok(Some("the node does not answer".to_owned())),
        }
    }

    fn not_among_peers(&self, status: &Status) -> Option<String> {
        let peers = status.peers.len();
        match self.peers {
            Some(wanted) if peers < wanted => return Some(format!("{peers} of {wanted} peers are connected")),
            _ => {}
        }
        let is_synced = status.sync.state == SyncState::InSync;
        (self.synced && !is_synced).then(|| match peers {
            0 => "no peer is connected".to_owned(),
            _ => "not all peers have the same data".to_owned(),
        })
    }
}

/// The answer; none while the node is not there.
async fn ask(client: &Client, words: &[&str]) -> Result<Option<Result<Reply, CommandError>>, Failure> {
    let command: Command = parse_words(words)?;
    let mut replies = match client.command(&command).await {
        Ok(replies) => replies,
        Err(ClientError::Refused(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    Ok(replies.next().await.ok().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("2", 2_000),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "5d", "inf", "nan", "1e400"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
