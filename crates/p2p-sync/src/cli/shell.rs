//! `p2p-sync COMMAND …`: one command, carried out by the node that runs on the data directory, or, while none does, on its store. What
//! was asked for goes to standard output, everything else to standard error.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::time::sleep;

use super::place::Place;
use super::{Failure, cannot_begin, output, values};
use crate::client::{Client, ClientError};
use crate::command::{Class, Command, CommandError, Help};
use crate::node::DataPaths;

mod answers;
mod direct;
mod patience;
mod reaching;
mod show;

use answers::Answers;
use direct::Opened;
use patience::Patience;
use show::Show;

pub(super) use reaching::{Reached, reach_data};

/// How often it is looked for meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a node that has a request may take for the answer, unless there may be a lot to do.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Carries out a command, and shows what came of it.
///
/// # Errors
/// When it was not carried out, or its answer cannot be written.
pub(super) fn run(command: Command, place: &Place) -> Result<ExitCode, Failure> {
    let json = command.json();
    match carry_out(command, place) {
        Ok(None) => Ok(ExitCode::SUCCESS),
        Ok(Some(class)) => Ok(ExitCode::from(class.code())),
        Err(failure) if json => {
            output::say(CommandError::new(failure.class, failure.text).json().trim_end());
            Ok(ExitCode::from(failure.class.code()))
        }
        Err(failure) => Err(failure),
    }
}

/// Gives the class of the first failure.
fn carry_out(command: Command, place: &Place) -> Result<Option<Class>, Failure> {
    let show = Show::new(&command);
    let command = match command {
        Command::Exit(_) => {
            let text = "`exit` leaves the prompt of a node. To stop one that runs elsewhere, send it SIGTERM: kill PID";
            return Err(Failure::new(Class::Usage, text));
        }
        Command::Help(help) if help.json() => return explain(help, show),
        Command::Help(help) => return super::help(help.command()).map(|()| None),
        Command::Add(add) => Command::Add(values::filled(add, &mut io::stdin())?),
        Command::Backup(backup) => Command::Backup(backup.with_whole_path()?),
        other => other.without_total(),
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot_begin(&error))?;
    let done = runtime.block_on(async {
        let answers = reach(&command, place).await?;
        tell(answers, show, command.writes()).await
    });
    runtime.shutdown_background();
    done
}

/// Describes the commands. Nothing but this program is needed for that.
fn explain(help: Help, mut show: Show) -> Result<Option<Class>, Failure> {
    match show.answer(help.reply()).map_err(show::not_written) {
        Ok(class) => Ok(class),
        Err(failure) => failure.map_or(Ok(None), Err),
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self::new(error.class, error.to_string())
    }
}

/// Shows the answers, and ends what gave them; `writes` says whether the command may have changed something.
async fn tell(mut answers: Answers, mut show: Show, writes: bool) -> Result<Option<Class>, Failure> {
    let mut first = None;
    let ended = loop {
        match answers.next().await {
            Ok(None) => break show.end().map_err(show::not_written),
            Ok(Some(answer)) => match show.answer(answer) {
                Ok(class) => first = first.or(class),
                Err(error) => break Err(show::not_written(error)),
            },
            Err(error) => break Err(Some(went_away(&error, writes))),
        }
    };
    answers.end().await;
    match ended {
        Ok(()) => Ok(first),
        // Whoever closes a pipe has seen enough.
        Err(None) => Ok(None),
        Err(Some(failure)) => Err(failure),
    }
}

/// The node went away in the middle of its answer.
fn went_away(error: &ClientError, writes: bool) -> Failure {
    let what = if writes { UNKNOWN } else { "Try again." };
    Failure::new(
        Class::NotReachable,
        format!("The node went away before its answer was complete ({error}). {what}"),
    )
}

/// Finds whoever can carry out the command, and has it done. A node that is just starting or stopping is waited for, and so are
/// commands of other shells.
async fn reach(command: &Command, place: &Place) -> Result<Answers, Failure> {
    let paths = place.paths()?;
    let mut patience = Patience::new(Instant::now());
    loop {
        let asked = ask(command, &paths, place).await?;
        let why = match asked {
            Asked::Answered(answers) => return Ok(answers),
            Asked::NotReached(why) => why,
            Asked::Nobody => None,
        };
        let opened = direct::open(command, &paths, place).await?;
        let holder = match opened {
            Opened::Direct(direct) => return Ok(direct.carry_out(command.clone()).await),
            Opened::Held { holder } => holder,
        };
        if patience.is_over(holder, Instant::now()) {
            return Err(unreachable(&paths, holder, why, patience.waited()));
        }
        sleep(PAUSE).await;
    }
}

enum Asked {
    Answered(Answers),
    /// It says that it runs, and cannot be asked; perhaps why.
    NotReached(Option<String>),
    /// No node says that it runs.
    Nobody,
}

async fn ask(command: &Command, paths: &DataPaths, place: &Place) -> Result<Asked, Failure> {
    let Some(client) = Client::of(paths)? else {
        return Ok(Asked::Nobody);
    };
    let patience = (!command.may_take_long()).then_some(ANSWERS_WITHIN);
    match client.command(command, patience).await {
        Ok(replies) => {
            if place.verbose {
                let running = client.running();
                output::say(&format!("(by the node at {}, process {})", running.api, running.pid));
            }
            Ok(Asked::Answered(Answers::remote(replies)))
        }
        Err(ClientError::NotReached(why)) => Ok(Asked::NotReached(Some(why))),
        Err(ClientError::Unanswered(why)) if !command.writes() => Ok(Asked::NotReached(Some(why))),
        Err(ClientError::Unanswered(why)) => Err(unknown(&why)),
        Err(ClientError::TimedOut) => Err(Failure::new(
            Class::TimedOut,
            format!(
                "The node (process {}) has not answered within {} s. {}",
                client.running().pid,
                ANSWERS_WITHIN.as_secs(),
                if command.writes() {
                    UNKNOWN
                } else {
                    "Nothing was changed."
                }
            ),
        )),
        Err(ClientError::Refused(error)) => Err(error.into()),
    }
}

/// What there is to say when a write was sent and not answered.
const UNKNOWN: &str = "Whether anything was written is unknown: look with get, and do it again if need be.";

fn unknown(why: &str) -> Failure {
    let text = format!("The node went away before it had answered ({why}). {UNKNOWN}");
    Failure::new(Class::NotReachable, text)
}

fn unreachable(paths: &DataPaths, holder: Option<u32>, why: Option<String>, waited: Duration) -> Failure {
    let process = holder.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    let text = format!(
        "Another p2p-sync{process} has {}, and its local API could not be reached within {} s{why}. Nothing was changed. It is \
         starting or stopping, runs with --api off, or is a command of a shell: try again when it is done",
        paths.directory().display(),
        waited.as_secs()
    );
    Failure::new(Class::NotReachable, text)
}
