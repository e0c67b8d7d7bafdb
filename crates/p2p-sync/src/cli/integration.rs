//! `completions` and `man`: what other programs need to know of the command line.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use clap_complete::env::Shells;

use super::{Failure, cannot_write, grammar};
use crate::command::Class;

mod offers;

pub(super) use offers::complete;

/// The variable by which a shell asks for what could stand at the cursor.
const VARIABLE: &str = "P2P_SYNC_COMPLETE";
const NAME: &str = "p2p-sync";

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

/// Prints a script that makes a shell complete commands, options, keys and peers
///
/// bash: put `source <(p2p-sync completions bash)` into ~/.bashrc. zsh: `source <(p2p-sync completions zsh)` into ~/.zshrc. fish:
/// `p2p-sync completions fish | source` into ~/.config/fish/config.fish. PowerShell:
/// `p2p-sync completions powershell | Out-String | Invoke-Expression` into $PROFILE. elvish: `eval (p2p-sync completions elvish |
/// slurp)` into ~/.config/elvish/rc.elv. The script asks this program, so make it anew after an update.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Completions {
    shell: Shell,
}

/// Writes manual pages into a directory
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Man {
    /// The directory, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Completions {
    /// Prints the script.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let shell = self.shell.to_possible_value();
        let shell = shell
            .as_ref()
            .map(clap::builder::PossibleValue::get_name)
            .unwrap_or_default();
        let shells = Shells::builtins();
        let Some(completer) = shells.completer(shell) else {
            return Err(Failure::new(Class::Usage, format!("Unknown shell: {shell}")));
        };
        // Found by its name, the program may be updated; started by a path, it may not be where shells look.
        let program = match env::args_os().next() {
            Some(word) if PathBuf::from(&word).components().count() > 1 => {
                env::current_exe().map_or(PathBuf::from(NAME), |program| program)
            }
            _ => PathBuf::from(NAME),
        };
        let mut script = Vec::new();
        let written = completer
            .write_registration(VARIABLE, NAME, NAME, &program.to_string_lossy(), &mut script)
            .and_then(|()| io::stdout().write_all(&script));
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&error)),
            _ => Ok(()),
        }
    }
}

impl Man {
    /// Writes the pages.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let written = match fs::create_dir_all(&self.directory) {
            // What the system says is "File exists", of whatever is in the way.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(io::ErrorKind::NotADirectory.into()),
            made => made.and_then(|()| self.write(&grammar().disable_help_subcommand(true))),
        };
        written.map_err(|error| {
            let class = match error.kind() {
                io::ErrorKind::PermissionDenied => Class::NotPermitted,
                _ => Class::Failed,
            };
            Failure::new(
                class,
                format!("Cannot write manual pages to {}: {error}", self.directory.display()),
            )
        })
    }

    /// Writes the pages of a command and of those below it: each is there completely, or as it was before.
    fn write(&self, command: &clap::Command) -> io::Result<()> {
        let mut command = command.clone();
        command.build();
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            self.write(below)?;
        }
        let page = clap_mangen::Man::new(command);
        let file = self.directory.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text)?;
        let fresh = file.with_extension("1.new");
        let written = fs::write(&fresh, &text).and_then(|()| fs::rename(&fresh, &file));
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        written
    }
}
