//! `p2p-sync COMMAND …`: one command, carried out by the node that runs on the data directory, or, while none does, on its store. What
//! was asked for goes to standard output, everything else to standard error.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::ctrl_c;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::place::Place;
use super::{Failure, cannot_begin, output, values};
use crate::client::{Client, ClientError, SILENCE_MAX};
use crate::command::{Class, Command, CommandError, Help, Progress, Reply};
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
/// How long somebody may take to read a page of a list before the directory is given free meanwhile.
const READS_WITHIN: Duration = Duration::from_secs(1);

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
    let done = runtime.block_on(work(command, place, show));
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

/// Has it done, and shows the answers. Ctrl-C ends a command that changes many keys with a word on how far it came.
async fn work(mut command: Command, place: &Place, mut show: Show) -> Result<Option<Class>, Failure> {
    let progress = Progress::default();
    let what = command.changes_many();
    let mut interrupted = pin!(async move {
        match what {
            None => pending().await,
            // Where no signal can be caught, it ends the program as it always does.
            Some(what) => match ctrl_c().await {
                Ok(()) => what,
                Err(_) => pending().await,
            },
        }
    });
    loop {
        let mut answers = tokio::select! {
            answers = reach(&command, place, &progress) => answers?,
            what = &mut interrupted => return Err(broken_off(what, &progress)),
        };
        let told = tokio::select! {
            told = tell(&mut answers, &mut show, &command, &progress) => told,
            what = &mut interrupted => Told::Ended(Err(Some(broken_off(what, &progress)))),
        };
        answers.end().await;
        match told {
            Told::Ended(Ok(first)) => return Ok(first),
            // Whoever closes a pipe has seen enough.
            Told::Ended(Err(None)) => return Ok(None),
            Told::Ended(Err(Some(failure))) => return Err(failure),
            Told::Unread(shown, rest) => {
                // As long as it takes.
                show = match shown.await {
                    Ok((show, Ok(_))) => show,
                    Ok((_, Err(error))) => return show::not_written(error).map_or(Ok(None), Err),
                    Err(_) => return Err(Failure::new(Class::Failed, "a bug has ended the output")),
                };
                match rest {
                    Some(rest) => command = rest,
                    None => {
                        return show
                            .end()
                            .map_err(show::not_written)
                            .map_or_else(|failure| failure.map_or(Ok(None), Err), |()| Ok(None));
                    }
                }
            }
        }
    }
}

fn broken_off(what: &str, progress: &Progress) -> Failure {
    let text = match progress.keys() {
        0 => format!("Interrupted: whether any key was {what} is unknown. To do the rest: the same again"),
        1 => format!("Interrupted: at least 1 key was {what}. To do the rest: the same again"),
        keys => format!("Interrupted: at least {keys} keys were {what}. To do the rest: the same again"),
    };
    Failure::new(Class::Failed, text)
}

/// What came of showing the answers.
enum Told {
    /// There are no more, or they cannot be shown: none, nobody reads them.
    Ended(Result<Option<Class>, Option<Failure>>),
    /// The page is being shown to somebody who takes his time. The rest of the list is to be asked for when he has read it.
    Unread(Shown, Option<Command>),
}

type Shown = JoinHandle<(Show, io::Result<Option<Class>>)>;

/// Shows the answers. Gives the class of the first failure.
async fn tell(answers: &mut Answers, show: &mut Show, command: &Command, progress: &Progress) -> Told {
    let mut first = None;
    loop {
        let answer = match answers.next().await {
            Ok(None) => return Told::Ended(show.end().map(|()| first).map_err(show::not_written)),
            Ok(Some(Ok(Reply::UnderWay(keys)))) => {
                progress.set(keys);
                continue;
            }
            Ok(Some(answer)) => answer,
            Err(error) => return Told::Ended(Err(Some(went_away(&error, command.writes())))),
        };
        let rest = match &answer {
            Ok(Reply::Listed(page)) if answers.hold_the_directory() => Some(command.behind(page)),
            _ => None,
        };
        let Some(rest) = rest else {
            match show.answer(answer) {
                Ok(class) => first = first.or(class),
                Err(error) => return Told::Ended(Err(show::not_written(error))),
            }
            continue;
        };
        let mut showing = show.take();
        let mut shown = spawn_blocking(move || {
            let done = showing.answer(answer);
            (showing, done)
        });
        match timeout(READS_WITHIN, &mut shown).await {
            Err(_) => return Told::Unread(shown, rest),
            Ok(Ok((same, Ok(_)))) => *show = same,
            Ok(Ok((_, Err(error)))) => return Told::Ended(Err(show::not_written(error))),
            Ok(Err(_)) => return Told::Ended(Err(Some(Failure::new(Class::Failed, "a bug has ended the output")))),
        }
    }
}

/// The node went away in the middle of its answer, or stopped talking.
fn went_away(error: &ClientError, writes: bool) -> Failure {
    if matches!(error, ClientError::TimedOut) {
        return silent("The node", writes);
    }
    let what = if writes { UNKNOWN } else { "Try again." };
    Failure::new(
        Class::NotReachable,
        format!("The node went away before its answer was complete ({error}). {what}"),
    )
}

fn silent(who: &str, writes: bool) -> Failure {
    let what = if writes { UNKNOWN } else { "Nothing was changed." };
    let seconds = SILENCE_MAX.as_secs();
    Failure::new(
        Class::TimedOut,
        format!("{who} has not answered within {seconds} s. {what}"),
    )
}

/// Finds whoever can carry out the command, and has it done. A node that is just starting or stopping is waited for, and so are
/// commands of other shells.
async fn reach(command: &Command, place: &Place, progress: &Progress) -> Result<Answers, Failure> {
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
            Opened::Direct(direct) => return Ok(direct.carry_out(command.clone(), progress)),
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
    match client.command(command).await {
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
        Err(ClientError::TimedOut) => {
            let who = format!("The node (process {})", client.running().pid);
            Err(silent(&who, command.writes()))
        }
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
