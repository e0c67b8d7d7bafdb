//! `service`: hands the node to the service manager of the system, so that it runs from the start of the machine or of the session.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode, Stdio};

use clap::{Parser, Subcommand};

use super::place::Place;
use super::{Cli, Failure, cannot_write, output};
use crate::command::Class;

#[cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "of another system, and tested here")
)]
mod launchd;
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "of another system, and tested here")
)]
mod systemd;
#[cfg_attr(not(windows), allow(dead_code, reason = "of another system, and tested here"))]
mod tasks;

/// Runs the node as a service of the system
///
/// The service manager starts the node with the machine or, for a user, with the session, and starts it again if it fails: systemd on
/// Linux, launchd on macOS, the Task Scheduler on Windows. The settings of the service are the flags behind `--`, and config.toml.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Service {
    #[command(subcommand)]
    action: ServiceAction,
}

#[derive(Debug, Clone, Subcommand)]
enum ServiceAction {
    Install(Install),
    Uninstall(Uninstall),
    Status(ShowStatus),
}

/// Installs the service and starts it
///
/// On Linux, a service of the system runs as the user `p2p-sync`, which is made if there is none, and keeps its data in
/// /var/lib/p2p-sync: `sudo -u p2p-sync p2p-sync --data-dir /var/lib/p2p-sync status` asks it. A service of a user has the same data as that
/// user's commands.
#[derive(Debug, Clone, clap::Args)]
struct Install {
    #[command(flatten)]
    scope: ScopeChoice,
    /// Show what would be installed, and change nothing
    #[arg(long)]
    print: bool,
    /// The program to run, if it is not this one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The flags with which `start` is called
    #[arg(last = true, value_name = "FLAG")]
    flags: Vec<OsString>,
}

/// Stops the service and removes it; the data stays
#[derive(Debug, Clone, clap::Args)]
struct Uninstall {
    #[command(flatten)]
    scope: ScopeChoice,
}

/// Shows whether the service is installed and runs; exit code 3 if it is not installed, 1 if it does not run
#[derive(Debug, Clone, clap::Args)]
struct ShowStatus {
    #[command(flatten)]
    scope: ScopeChoice,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct ScopeChoice {
    /// A service of this user [default, unless root asks]
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// A service of the whole machine; needs root, or an administrator
    #[arg(long)]
    system: bool,
}

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    User,
    System,
}

/// What the service runs.
#[derive(Debug)]
struct Job {
    scope: Scope,
    /// The program, by its absolute path.
    program: PathBuf,
    /// Its arguments behind `start`.
    arguments: Vec<String>,
}

impl Job {
    /// Whether the service is to be told where the data of the machine is: nobody else has.
    fn needs_data_dir(&self) -> bool {
        let is_named = self.arguments.iter().any(|argument| argument.starts_with("--data-dir"));
        self.scope == Scope::System && !is_named
    }
}

/// A command of the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    words: Vec<String>,
    /// Whether its failure ends the work, or is what may be expected.
    must_succeed: bool,
}

/// How a service manager is told of a service.
#[derive(Debug)]
struct Plan {
    file: PathBuf,
    content: Vec<u8>,
    /// Before the file is written.
    prepare: Vec<Step>,
    /// Once it is there.
    start: Vec<Step>,
    /// Before it is removed.
    stop: Vec<Step>,
    /// Once it is gone.
    forget: Vec<Step>,
    /// Succeeds if the service runs.
    is_running: Step,
}

impl Step {
    fn new(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            must_succeed: true,
        }
    }

    /// One that may fail: what it undoes may not be there.
    fn tried(words: &[&str]) -> Self {
        Self {
            must_succeed: false,
            ..Self::new(words)
        }
    }

    fn run(&self) -> Result<(), Failure> {
        let (program, arguments) = self
            .words
            .split_first()
            .map_or(("", &[][..]), |(first, rest)| (first, rest));
        let ended = Program::new(program).args(arguments).stdin(Stdio::null()).output();
        let why = match ended {
            Ok(ended) if ended.status.success() || !self.must_succeed => return Ok(()),
            Ok(ended) => String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
            Err(_) if !self.must_succeed => return Ok(()),
            Err(error) => error.to_string(),
        };
        Err(Failure::new(
            Class::Failed,
            format!(
                "`{}` failed: {}",
                self.words.join(" "),
                p2p_sync_core::text::printable(why.as_bytes())
            ),
        ))
    }
}

impl ScopeChoice {
    fn scope(self) -> Scope {
        if self.system || (!self.user && is_administrator()) {
            Scope::System
        } else {
            Scope::User
        }
    }
}

#[cfg(unix)]
fn is_administrator() -> bool {
    rustix::process::geteuid().is_root()
}

/// Windows asks the user when a task for the machine is made.
#[cfg(not(unix))]
fn is_administrator() -> bool {
    false
}

impl Service {
    /// Does what was asked for.
    ///
    /// # Errors
    /// When a flag for `start` is wrong, the service manager refuses, or a file cannot be written. The text says what was done before.
    pub(super) fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        match self.action {
            ServiceAction::Install(install) => install.run(place),
            ServiceAction::Uninstall(uninstall) => uninstall.run(),
            ServiceAction::Status(status) => status.run(),
        }
    }
}

impl Install {
    fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        let scope = self.scope.scope();
        let job = Job {
            scope,
            program: program(self.program)?,
            arguments: arguments(&self.flags, place)?,
        };
        let plan = plan(&job)?;
        if self.print {
            return show(&plan);
        }
        if let Some(why) = out_of_reach(&job) {
            return Err(Failure::new(Class::Failed, format!("{why}. Nothing was changed")));
        }
        let nothing_yet = |failure: Failure| Failure::new(failure.class, format!("{failure}. Nothing was installed"));
        plan.prepare.iter().try_for_each(Step::run).map_err(nothing_yet)?;
        write(&plan.file, &plan.content).map_err(nothing_yet)?;
        for step in &plan.start {
            step.run().map_err(|failure| {
                let text = format!("{failure}. {} was written and stays", plan.file.display());
                Failure::new(failure.class, text)
            })?;
        }
        output::say(&format!("✓ Installed and started: {}", plan.file.display()));
        Ok(ExitCode::SUCCESS)
    }
}

impl Uninstall {
    fn run(self) -> Result<ExitCode, Failure> {
        let plan = installed(self.scope.scope())?;
        plan.stop.iter().try_for_each(Step::run)?;
        match fs::remove_file(&plan.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let text = format!(
                    "The service was stopped, but {} cannot be removed: {error}",
                    plan.file.display()
                );
                return Err(Failure::new(Class::Failed, text));
            }
            _ => {}
        }
        plan.forget.iter().try_for_each(Step::run)?;
        output::say(&format!(
            "✓ Stopped and removed: {}. The data stays",
            plan.file.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}

impl ShowStatus {
    fn run(self) -> Result<ExitCode, Failure> {
        let plan = installed(self.scope.scope())?;
        let runs = plan.is_running.run();
        let state = if runs.is_ok() { "runs" } else { "does not run" };
        output::tell(&format!("Installed: {}, and it {state}\n", plan.file.display()));
        Ok(if runs.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// The plan of a service that is there.
fn installed(scope: Scope) -> Result<Plan, Failure> {
    let job = Job {
        scope,
        program: PathBuf::from("p2p-sync"),
        arguments: Vec::new(),
    };
    let plan = plan(&job)?;
    if plan.file.exists() {
        return Ok(plan);
    }
    let whose = match scope {
        Scope::User => "this user (--system: of the machine)",
        Scope::System => "the machine (--user: of this user)",
    };
    Err(Failure::new(
        Class::NotFound,
        format!(
            "No service of {whose} is installed: there is no {}",
            plan.file.display()
        ),
    ))
}

#[cfg(target_os = "linux")]
fn plan(job: &Job) -> Result<Plan, Failure> {
    systemd::plan(job)
}

#[cfg(target_os = "macos")]
fn plan(job: &Job) -> Result<Plan, Failure> {
    launchd::plan(job)
}

#[cfg(windows)]
fn plan(job: &Job) -> Result<Plan, Failure> {
    tasks::plan(job)
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn plan(_job: &Job) -> Result<Plan, Failure> {
    Err(Failure::new(
        Class::Failed,
        "This system's service manager is not known. Have it run `p2p-sync start` with /dev/null as its input",
    ))
}

/// The program that the service will run, by its absolute path: this one unless another one was named.
fn program(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let found = match named {
        Some(path) => std::path::absolute(path),
        None => std::env::current_exe(),
    };
    found.map_err(|error| {
        Failure::new(
            Class::Failed,
            format!("Cannot tell where the program is: {error}. Nothing was changed"),
        )
    })
}

/// Why a service of the machine could not start the program, if so.
fn out_of_reach(job: &Job) -> Option<String> {
    let hidden = ["/home", "/root", "/tmp", "/var/tmp", "/run/user"];
    let is_hidden = hidden.iter().any(|directory| job.program.starts_with(directory));
    (cfg!(target_os = "linux") && job.scope == Scope::System && is_hidden).then(|| {
        format!(
            "A service of the system does not see {}. Copy the program first, and run the copy: \
             `install -m 755 {} /usr/local/bin/p2p-sync`",
            job.program.display(),
            job.program.display()
        )
    })
}

/// The arguments behind `start`, once it is clear that `start` takes them.
fn arguments(flags: &[OsString], place: &Place) -> Result<Vec<String>, Failure> {
    let wrong = |text: String| Failure::new(Class::Usage, format!("{text} Nothing was changed"));
    let words = ["p2p-sync".into(), "start".into()].into_iter();
    if let Err(error) = Cli::try_parse_from(words.chain(flags.iter().cloned())) {
        let text = error.to_string();
        let text = text.split("\n\nUsage").next().unwrap_or_default();
        let text = text.strip_prefix("error: ").unwrap_or(text);
        return Err(wrong(format!("{}.", text.replace('\n', " "))));
    }
    let mut all = Vec::new();
    // What was said in front of `--` counts for the service, too.
    for (flag, path) in [
        ("--data-dir", place.named_data_dir()),
        ("--config", place.named_config_file()),
    ] {
        if let Some(path) = path {
            let path = std::path::absolute(path).map_err(|error| wrong(format!("{flag}: {error}.")))?;
            all.extend([OsString::from(flag), path.into_os_string()]);
        }
    }
    all.extend(flags.iter().cloned());
    let text = |word: OsString| {
        let word = word
            .into_string()
            .ok()
            .filter(|word| !word.contains(|c: char| c.is_control()));
        word.ok_or_else(|| wrong("A flag of a service must be UTF-8 without control characters.".to_owned()))
    };
    all.into_iter().map(text).collect()
}

/// Shows the file on standard output, and what would be done with it on standard error.
fn show(plan: &Plan) -> Result<ExitCode, Failure> {
    output::say("Nothing was changed. The service would be installed so:");
    let commands = |steps: &[Step]| {
        steps
            .iter()
            .for_each(|step| output::say(&format!("  {}", step.words.join(" "))))
    };
    commands(&plan.prepare);
    output::say(&format!("  (write {})", plan.file.display()));
    commands(&plan.start);
    match io::stdout().write_all(&plan.content) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes the file at once: the service manager may look at any time.
fn write(file: &Path, content: &[u8]) -> Result<(), Failure> {
    let cannot = |error: io::Error| {
        let class = match error.kind() {
            io::ErrorKind::PermissionDenied => Class::NotPermitted,
            _ => Class::Failed,
        };
        Failure::new(class, format!("Cannot write {}: {error}", file.display()))
    };
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(cannot)?;
    let beside = file.with_extension("new");
    let written = fs::write(&beside, content).and_then(|()| fs::rename(&beside, file));
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        cannot(error)
    })
}

/// The user's home directory.
fn home() -> Result<PathBuf, Failure> {
    let home = directories::BaseDirs::new().map(|found| found.home_dir().to_owned());
    home.ok_or_else(|| Failure::new(Class::Failed, "This user has no home directory. Nothing was changed"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_the_system_needs_a_program_that_it_sees() {
        let job = |scope, program: &str| Job {
            scope,
            program: PathBuf::from(program),
            arguments: Vec::new(),
        };
        let is_refused = |scope, program| out_of_reach(&job(scope, program)).is_some();
        assert_eq!(
            is_refused(Scope::System, "/home/kit/bin/p2p-sync"),
            cfg!(target_os = "linux")
        );
        assert!(!is_refused(Scope::User, "/home/kit/bin/p2p-sync"));
        assert!(!is_refused(Scope::System, "/usr/local/bin/p2p-sync"));
        assert!(!is_refused(Scope::System, "/homer/p2p-sync"));
    }

    #[test]
    fn wrong_flags_are_refused_before_anything_changes() {
        let place = Place::default();
        let flags = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let good = arguments(&flags(&["--name", "kitchen", "--port", "0"]), &place);
        assert_eq!(good.unwrap(), ["--name", "kitchen", "--port", "0"]);
        for wrong in [&["--nmae", "x"][..], &["--port", "banana"], &["extra"]] {
            let failure = arguments(&flags(wrong), &place).unwrap_err();
            assert!(failure.text.contains("Nothing was changed"), "{failure}");
        }
    }
}
