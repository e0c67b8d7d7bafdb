//! `import`: keys and values out of a file of this or of another program. A thread reads the file, one page ahead of those that are
//! written.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::builder::PossibleValuesParser;
use indicatif::ProgressBar;
use p2p_sync_core::text::printable;
use tokio::sync::mpsc;

use super::place::Place;
use super::shell::{Reached, reach_data};
use super::transfer::{STANDARD, format, note, progress};
use super::{Failure, transfer};
use crate::client::ClientError;
use crate::command::{Class, import_page};
use crate::dump::{Bad, Format, Renaming};
use crate::report::{ImportPage, Imported, Overwrite, PageImported, Skipped, line};

mod pages;

use pages::Page;

/// Bytes of the file that are read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// Pages that were read and are not written yet.
const PAGES_AHEAD: usize = 2;
/// Lines left out that people are told of one by one.
const SKIPPED_TOLD: u64 = 20;

/// Stores keys and values from a file
///
/// Reads what `export` and `list --json` write, and what other programs print: `redis-cli --csv` or `--no-raw` for a reply of keys and
/// values in turn, the protocol of Redis (`resp`), `etcdctl get -w json --prefix ""`, and `consul kv export`. Data goes in by pages of up
/// to 1,000 records, each stored as a whole. What a format says beside keys and values, and this store cannot hold, such as a lease, is not
/// dropped silently: its record counts as wrong.
///
/// An import is a write like any other: it is dated now, and this node is its author, so that it reaches all nodes and wins over what
/// they have of these keys. The time of a record in an `ndjson` file only decides whether it is written: with `--overwrite older`, if
/// this node holds nothing of the key, or what it holds was written, or deleted, before that time. So an old file brings back
/// nothing that was deleted since. The author in a file is not looked at.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Import {
    /// Where from; standard input if it is left out, or -
    file: Option<PathBuf>,
    /// The format; without it, what the name of the file ends in says it
    #[arg(long, short, value_name = "FORMAT", value_parser = PossibleValuesParser::new(Format::names()))]
    format: Option<String>,
    /// What is done with a key that has a value: `never` leaves it, `older` replaces what was written before the time of the
    /// record (`ndjson` only), `always` replaces it
    #[arg(long, value_name = "WHEN", default_value = "never", value_parser = PossibleValuesParser::new(["never", "older", "always"]))]
    overwrite: String,
    /// What is done at a record that is wrong: `stop` ends there, and what came before it stays; `skip` tells of it and goes on
    #[arg(long, value_name = "WHAT", default_value = "stop", value_parser = PossibleValuesParser::new(["stop", "skip"]))]
    on_error: String,
    /// Puts this in front of each key
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Leaves this out at the beginning of each key; a key that begins with something else is wrong
    #[arg(long, value_name = "PREFIX")]
    strip_prefix: Option<String>,
    /// Only tells what would be stored
    #[arg(long)]
    dry_run: bool,
    /// Tells in JSON what was stored and what was left out
    #[arg(long)]
    json: bool,
}

impl Import {
    /// Imports.
    ///
    /// # Errors
    /// When not all of it was stored; the failure says how much was.
    pub(super) fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        transfer::run(
            self.json,
            Some("(interrupted: what was imported stays; import the file again for the rest)"),
            self.import(place),
        )
    }

    async fn import(&self, place: &Place) -> Result<ExitCode, Failure> {
        let file = self.file.as_deref().filter(|file| *file != Path::new(STANDARD));
        let format = format(self.format.as_deref(), file)?;
        let overwrite = match self.overwrite.as_str() {
            "older" if !format.has_timestamps() => {
                let text = "--overwrite older is for the format ndjson: the others do not say when something was written. \
                            Nothing was done";
                return Err(Failure::new(Class::Usage, text));
            }
            "older" => Overwrite::Older,
            "always" => Overwrite::Always,
            _ => Overwrite::Never,
        };
        let (input, bytes) = open(file)?;
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            input,
            read: Arc::clone(&read),
        };
        let renaming = Renaming {
            strip: self.strip_prefix.clone(),
            prefix: self.prefix.clone(),
        };
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let stops = self.on_error == "stop";
        std::thread::spawn(move || {
            let mut input = BufReader::with_capacity(BUFFER_BYTES, counted);
            pages::read(format, &mut input, &renaming, (stops, overwrite), &sender);
        });
        let reached = reach_data(place, !self.dry_run).await?;
        let mut work = Work {
            reached: &reached,
            import: self,
            overwrite,
            done: Imported {
                dry_run: self.dry_run,
                ..Imported::default()
            },
            bar: progress(bytes),
            read: bytes.map(|_| read),
        };
        let worked = work.all(pages).await;
        work.bar.finish_and_clear();
        let done = work.done;
        if let Reached::Store(direct) = reached {
            direct.end().await;
        }
        worked?;
        self.tell(done)
    }

    fn tell(&self, done: Imported) -> Result<ExitCode, Failure> {
        if self.json {
            let told = io::stdout().write_all(line(&done).as_bytes());
            told.map_err(|error| super::cannot_write(&error))?;
        } else {
            note(&summary(done));
        }
        Ok(if done.skipped > 0 {
            ExitCode::from(Class::Invalid.code())
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// The file and its size, if it has one.
fn open(file: Option<&Path>) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    let Some(file) = file else {
        if io::stdin().is_terminal() {
            let text = "Import what? Name a file, or give one as standard input. Nothing was done";
            return Err(Failure::new(Class::Usage, text));
        }
        return Ok((Box::new(io::stdin()), None));
    };
    let cannot_read = |error: io::Error| {
        let class = match error.kind() {
            io::ErrorKind::NotFound => Class::NotFound,
            io::ErrorKind::PermissionDenied => Class::NotPermitted,
            _ => Class::Failed,
        };
        Failure::new(
            class,
            format!("Cannot read {}: {error}. Nothing was done", file.display()),
        )
    };
    let opened = File::open(file).map_err(cannot_read)?;
    let found = opened.metadata().map_err(cannot_read)?;
    if found.is_dir() {
        return Err(cannot_read(io::ErrorKind::IsADirectory.into()));
    }
    Ok((Box::new(opened), found.is_file().then_some(found.len())))
}

/// Counts what was read.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// An import under way.
struct Work<'a> {
    reached: &'a Reached,
    import: &'a Import,
    overwrite: Overwrite,
    done: Imported,
    bar: ProgressBar,
    /// How much of the file was read, if it is known how much there is.
    read: Option<Arc<AtomicU64>>,
}

impl Work<'_> {
    async fn all(&mut self, mut pages: mpsc::Receiver<Page>) -> Result<(), Failure> {
        while let Some(page) = pages.recv().await {
            if let Some((first, last)) = page.lines {
                let request = ImportPage {
                    overwrite: self.overwrite,
                    dry_run: self.import.dry_run,
                    records: page.records,
                };
                let imported = self.write(request).await;
                let imported = imported.map_err(|error| self.not_written((first, last), &error))?;
                self.done.imported += imported.imported;
                self.done.kept += imported.kept;
            }
            for bad in page.bad {
                self.skip(bad)?;
            }
            if let Some(error) = page.failed {
                let text = format!("Cannot read the file any further: {error}. {}", self.so_far());
                return Err(Failure::new(Class::Failed, text));
            }
            match &self.read {
                Some(read) => self.bar.set_position(read.load(Ordering::Relaxed)),
                None => self.bar.set_position(self.done.imported + self.done.kept),
            }
        }
        Ok(())
    }

    async fn write(&self, page: ImportPage<'_>) -> Result<PageImported, ClientError> {
        match self.reached {
            Reached::Node(client) => client.import(&page).await,
            Reached::Store(direct) => Ok(import_page(direct.node(), page).await?),
        }
    }

    /// Tells of something that is no record, and ends there if that was asked for.
    fn skip(&mut self, bad: Bad) -> Result<(), Failure> {
        let why = printable(bad.why.as_bytes());
        if self.import.on_error == "stop" || bad.is_end {
            let rest = if bad.is_end {
                "What follows it cannot be read. Correct the file, and import it again"
            } else {
                "Correct it and import the file again, or leave out what is wrong with --on-error skip"
            };
            let text = format!("Line {}: {why}. {}. {rest}", bad.line, self.so_far());
            return Err(Failure::new(Class::Invalid, text));
        }
        self.done.skipped += 1;
        if self.import.json {
            let skipped = line(&Skipped {
                skipped_line: bad.line,
                why,
            });
            let told = io::stdout().write_all(skipped.as_bytes());
            return told.map_err(|error| super::cannot_write(&error));
        }
        match self.done.skipped {
            ..=SKIPPED_TOLD => self
                .bar
                .suspend(|| note(&format!("Line {}: {why}. It was left out", bad.line))),
            count if count == SKIPPED_TOLD + 1 => self.bar.suspend(|| note("(further ones are only counted)")),
            _ => {}
        }
        Ok(())
    }

    fn so_far(&self) -> String {
        let Imported { imported, kept, .. } = self.done;
        let kept = if kept > 0 {
            format!(", {kept} were left as this node has them")
        } else {
            String::new()
        };
        match (self.import.dry_run, imported) {
            (true, _) => {
                format!("Nothing was changed: this was a dry run, in which {imported} would have been imported{kept}")
            }
            (false, 1) => format!("The 1 record imported before it stays{kept}"),
            (false, _) => format!("The {imported} records imported before it stay{kept}"),
        }
    }

    fn not_written(&self, (first, last): (u64, u64), error: &ClientError) -> Failure {
        let so_far = self.so_far();
        let (class, why) = match error {
            ClientError::Refused(error) => (error.class, format!("could not be imported: {error}")),
            ClientError::Unanswered(why) => (
                Class::NotReachable,
                format!("were sent, and whether they were written is unknown: the node went away ({why})"),
            ),
            ClientError::NotReached(why) => (Class::NotReachable, format!("were not sent: the node is gone ({why})")),
            ClientError::TimedOut => (Class::TimedOut, "were sent, and not answered".to_owned()),
        };
        let text = format!("Lines {first} to {last} {why}. {so_far}. Import the file again when that is mended");
        Failure::new(class, printable(text.as_bytes()))
    }
}

fn summary(done: Imported) -> String {
    let Imported {
        imported,
        kept,
        skipped,
        dry_run,
    } = done;
    let records = if imported == 1 { "record" } else { "records" };
    let mut text = if dry_run {
        format!("A dry run: {imported} {records} would be imported")
    } else {
        format!("Imported: {imported} {records}")
    };
    if kept > 0 {
        text.push_str(&format!(", {kept} kept as this node has them"));
    }
    if skipped > 0 {
        text.push_str(&format!(", {skipped} left out"));
    }
    text
}
