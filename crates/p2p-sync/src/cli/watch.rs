//! `watch`: tells of every change, or runs a program for each. It comes back by itself when the node does, and goes on where it was.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use p2p_sync_core::sequence::Cursor;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::place::Place;
use super::{Failure, cannot_begin, output};
use crate::client::{Client, ClientError, Events};
use crate::command::Class;
use crate::node::{DataDir, DataPaths};
use crate::report::WatchEvent;

mod runner;
mod state;
mod tell;

use runner::Runner;
use state::State;
use tell::Tell;

/// How often a node is looked for that is not there.
const PAUSE: Duration = Duration::from_millis(100);
/// A node that says nothing for so long is not there any more. It says something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long what was told may wait until it is kept, so that a change does not cost a wait for the disk.
const KEEPING: Duration = Duration::from_millis(100);
/// Where a watch begins that tells only what is new.
const NOW: &str = "now";
/// How a program ends that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Tells of every change, from whichever node it comes
///
/// First shows everything that is stored, then every change as it comes, until Ctrl-C. If the node stops, this waits for it and goes on
/// where it was. Nothing is missed, but of several changes of one key in quick succession only the last may be shown.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Watch {
    /// Only keys that begin with this
    prefix: Option<String>,
    /// Goes on behind this cursor, which an earlier watch gave
    #[arg(long, value_name = "CURSOR", conflicts_with = "new")]
    since: Option<Cursor>,
    /// Shows only what changes from now on
    #[arg(long)]
    new: bool,
    /// Shows no values
    #[arg(long)]
    keys_only: bool,
    /// Shows the events as JSON, one object per line
    #[arg(long, conflicts_with = "exec")]
    json: bool,
    /// Keeps in this file how far it has come, and goes on from there when it is started again
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Runs a program for each change instead of showing it. Everything behind --exec is the program and its arguments
    ///
    /// It gets the value on its standard input, and P2P_SYNC_EVENT (put, delete or conflict), P2P_SYNC_KEY, P2P_SYNC_TIMESTAMP,
    /// P2P_SYNC_AUTHOR and P2P_SYNC_CURSOR in its environment. No shell is involved, unless you name one. Changes of one key are
    /// handled one after the other, those of different keys up to four at a time. With --state, a change whose program had not ended
    /// is handled again after a restart.
    #[arg(
        long,
        value_name = "PROGRAM",
        num_args = 1..,
        allow_hyphen_values = true,
        conflicts_with = "keys_only"
    )]
    exec: Vec<OsString>,
}

impl Watch {
    /// Watches until it is interrupted, or nobody reads any more.
    ///
    /// # Errors
    /// When it cannot go on.
    pub(super) fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        let mut watcher = self.watcher(place)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| cannot_begin(&error))?;
        let done = runtime.block_on(async {
            tokio::select! {
                done = watcher.run() => done.map(|()| ExitCode::SUCCESS),
                _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
            }
        });
        runtime.shutdown_background();
        let kept = watcher.keep();
        done.and_then(|code| kept.map(|()| code))
    }

    fn watcher(self, place: &Place) -> Result<Watcher, Failure> {
        let paths = place.paths()?;
        let prefix = self.prefix.unwrap_or_default();
        let state = self.state.map(|file| State::of(file, &prefix)).transpose()?;
        let kept = state.as_ref().and_then(|state| state.cursor().map(str::to_owned));
        let asked = self.since.map(|since| since.to_string());
        let since = kept.or(asked).or_else(|| self.new.then(|| NOW.to_owned()));
        let sink = if self.exec.is_empty() {
            Sink::Tell(Tell::new(self.json, self.keys_only))
        } else {
            Sink::Run(Runner::new(self.exec, paths.directory()))
        };
        Ok(Watcher {
            paths,
            prefix,
            since,
            state,
            told: None,
            sink,
            verbose: place.verbose,
        })
    }
}

/// Where events go.
enum Sink {
    Tell(Tell),
    Run(Runner),
}

struct Watcher {
    paths: DataPaths,
    prefix: String,
    /// Behind which cursor the next connection goes on.
    since: Option<String>,
    state: Option<State>,
    /// A place up to which everything has left the process, and since when that is not kept yet.
    told: Option<(String, Instant)>,
    sink: Sink,
    verbose: bool,
}

/// Why events end.
enum Ended {
    /// The node is gone, and may come back.
    Gone(String),
    /// Nobody reads any more.
    Closed,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Watcher {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut is_missed = false;
        loop {
            let why = match self.connect().await? {
                Ok(events) => {
                    if is_missed || self.verbose {
                        output::say("(watching)");
                    }
                    is_missed = false;
                    match self.follow(events).await {
                        Ended::Gone(why) => {
                            self.keep()?;
                            Some(why)
                        }
                        Ended::Closed => return Ok(()),
                        Ended::Failed(failure) => return Err(failure),
                    }
                }
                Err(why) => why,
            };
            if !is_missed {
                is_missed = true;
                output::say(&waiting(self.paths.directory(), why));
            }
            self.pause().await?;
        }
    }

    /// Waits a moment, in which programs may end.
    async fn pause(&mut self) -> Result<(), Failure> {
        match &mut self.sink {
            Sink::Run(runner) if runner.is_busy() => {
                if let Ok(done) = timeout(PAUSE, runner.done()).await
                    && let Some(cursor) = done?
                {
                    self.save(&cursor)?;
                }
            }
            _ => sleep(PAUSE).await,
        }
        Ok(())
    }

    /// The events, or why there are none yet, if that is not just because nobody is there.
    async fn connect(&self) -> Result<Result<Events, Option<String>>, Failure> {
        let Some(client) = Client::of(&self.paths)? else {
            let is_held = DataDir::is_held(&self.paths);
            return Ok(Err(is_held.then(|| "the one that has it has no local API".to_owned())));
        };
        let asked = client.watch(&self.prefix, self.since.as_deref());
        match timeout(SILENCE_MAX, asked).await.unwrap_or(Err(ClientError::TimedOut)) {
            Ok(events) => Ok(Ok(events)),
            Err(ClientError::Refused(error)) => Err(error.into()),
            Err(error) => Ok(Err(Some(error.to_string()))),
        }
    }

    async fn follow(&mut self, mut events: Events) -> Ended {
        loop {
            let step = match &mut self.sink {
                Sink::Tell(_) => self.tell(&mut events).await,
                Sink::Run(_) => self.handle(&mut events).await,
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    /// Shows the next event, or keeps how far those before it have come.
    async fn tell(&mut self, events: &mut Events) -> Result<(), Ended> {
        let due = self.told.as_ref().map(|(_, since)| *since + KEEPING);
        let event = match due {
            None => next(events).await?,
            Some(due) => match timeout_at(due, next(events)).await {
                Ok(event) => event?,
                Err(_) => return Ok(self.keep()?),
            },
        };
        let Sink::Tell(tell) = &mut self.sink else {
            return Ok(());
        };
        tell.event(&event).map_err(tell::ended)?;
        let has_more = events.has_more();
        if !has_more {
            tell.flush().map_err(tell::ended)?;
        }
        self.came_to(&event);
        if has_more {
            return Ok(());
        }
        let since = self.told.take().map_or_else(Instant::now, |(_, since)| since);
        self.told = self
            .since
            .clone()
            .filter(|cursor| cursor != NOW)
            .map(|cursor| (cursor, since));
        // Events that come without a pause do not put it off.
        if since.elapsed() >= KEEPING {
            self.keep()?;
        }
        Ok(())
    }

    /// Keeps how far everything has been told.
    fn keep(&mut self) -> Result<(), Failure> {
        match self.told.take() {
            Some((cursor, _)) => self.save(&cursor),
            None => Ok(()),
        }
    }

    /// Takes the next event to the program, if there is room, or notes that a program has ended.
    async fn handle(&mut self, events: &mut Events) -> Result<(), Ended> {
        let Sink::Run(runner) = &mut self.sink else {
            return Ok(());
        };
        tokio::select! {
            biased;
            done = runner.done(), if runner.is_busy() => {
                if let Some(cursor) = done? {
                    self.save(&cursor)?;
                }
            }
            event = next(events), if runner.has_room() => {
                let event = event?;
                if matches!(event, WatchEvent::Reset) {
                    tell::reset();
                }
                let handled = runner.take(&event);
                self.came_to(&event);
                if let Some(cursor) = handled {
                    self.save(&cursor)?;
                }
            }
        }
        Ok(())
    }

    /// Another connection goes on behind this event, whether it has been handled yet or not.
    fn came_to(&mut self, event: &WatchEvent) {
        if let Some(cursor) = event.cursor() {
            self.since = Some(cursor.to_owned());
        }
    }

    /// Everything up to this cursor has been told or handled.
    fn save(&mut self, cursor: &str) -> Result<(), Failure> {
        self.state.as_mut().map_or(Ok(()), |state| state.save(cursor))
    }
}

/// What is said while there is nobody to ask.
fn waiting(directory: &Path, why: Option<String>) -> String {
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    format!("(no node is running on {}, waiting for one{why})", directory.display())
}

async fn next(events: &mut Events) -> Result<WatchEvent, Ended> {
    match timeout(SILENCE_MAX, events.next()).await {
        Ok(Ok(Some(event))) => Ok(event),
        Ok(Ok(None)) => Err(Ended::Gone("the node has ended the watch".to_owned())),
        Ok(Err(error)) => Err(Ended::Gone(error.to_string())),
        Err(_) => Err(Ended::Gone("the node says nothing".to_owned())),
    }
}

/// Something of this machine went wrong.
fn failed(text: String) -> Failure {
    Failure::new(Class::Failed, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_is_there_is_nothing_to_say_about_an_api() {
        let place = Path::new("data");
        assert_eq!(waiting(place, None), "(no node is running on data, waiting for one)");
        let why = Some("it broke off".to_owned());
        assert_eq!(
            waiting(place, why),
            "(no node is running on data, waiting for one: it broke off)"
        );
    }
}
