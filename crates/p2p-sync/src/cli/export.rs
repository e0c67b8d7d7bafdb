//! `export`: everything of a store as of one moment, into a file of one of several formats.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;

use super::place::Place;
use super::shell::{Reached, reach_data};
use super::transfer::{STANDARD, WholeFile, format, note, progress};
use super::{Failure, transfer};
use crate::client::{Blocks, ClientError};
use crate::command::{Class, CommandError};
use crate::dump::{Format, NotExported, Writer};
use crate::node::{Export as Pages, ExportPage};
use crate::report::{self, Dumped, Exported, Items, dump_lines, line, read};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes all keys and values into a file
///
/// What is written is what the node held at one moment, whatever is written to it meanwhile. `ndjson` loses nothing but conflicts: it has
/// the time and the author of each record, bytes in base64, and, with --deleted, the deletions. `json` is one object of keys and
/// values, `csv` has a header and every field in quotes, and `env` holds variables as all readers of such files understand
/// them; a record that this format cannot say is named, and nothing is exported. A file gets its name when it is complete, and
/// only its owner can read it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Export {
    /// Where to; standard output if it is left out, or -
    file: Option<PathBuf>,
    /// The format; without it, what the name of the file ends in says it
    #[arg(long, short, value_name = "FORMAT", value_parser = PossibleValuesParser::new(Format::names_of_written()))]
    format: Option<String>,
    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Leaves this out at the beginning of each key; with a key that begins with something else nothing is exported
    #[arg(long, value_name = "PREFIX")]
    strip_prefix: Option<String>,
    /// Also exports the deletions of keys; `ndjson` only
    #[arg(long)]
    deleted: bool,
    /// Tells in JSON what was exported into a file
    #[arg(long, requires = "file")]
    json: bool,
}

/// Whatever gives the records, as lines.
enum Source {
    Node(Blocks),
    Store(Pages),
}

/// Where the records go.
enum Sink {
    /// As the lines that they are.
    Lines { out: Box<dyn Write>, records: u64 },
    /// In another form.
    Writer(Writer<Box<dyn Write>>),
}

impl Export {
    /// Exports.
    ///
    /// # Errors
    /// When it is incomplete; there is no file then.
    pub(super) fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        transfer::run(self.json, None, async {
            self.export(place).await.map(|()| ExitCode::SUCCESS)
        })
    }

    async fn export(self, place: &Place) -> Result<(), Failure> {
        let file = self.file.as_deref().filter(|file| *file != Path::new(STANDARD));
        let format = format(self.format.as_deref(), file)?;
        if self.deleted && !format.has_timestamps() {
            let text = "--deleted is for the format ndjson: the others cannot tell a deletion. Nothing was done";
            return Err(Failure::new(Class::Usage, text));
        }
        let reached = reach_data(place, false).await?;
        let source = match &reached {
            Reached::Node(client) => client.export(&self.prefix, self.deleted).await.map(Source::Node),
            Reached::Store(direct) => {
                let pages = direct.node().export(&self.prefix, self.deleted).await;
                pages
                    .map(Source::Store)
                    .map_err(|error| ClientError::Refused(error.into()))
            }
        };
        let done = match source {
            Ok(source) => self.write(source, format, file).await,
            Err(ClientError::Refused(error)) => Err(error.into()),
            Err(error) => Err(not_complete(&error.to_string())),
        };
        if let Reached::Store(direct) = reached {
            direct.end().await;
        }
        done
    }

    async fn write(&self, mut source: Source, format: Format, file: Option<&Path>) -> Result<(), Failure> {
        let cannot_write = |error: &io::Error| match file {
            Some(file) => Failure::new(
                Class::Failed,
                format!("Cannot write {}: {error}. Nothing was exported", file.display()),
            ),
            None => super::cannot_write(error),
        };
        let whole = file.map(WholeFile::create).transpose();
        let mut whole = whole.map_err(|error| cannot_write(&error))?;
        let out: Box<dyn Write> = match &mut whole {
            Some(whole) => Box::new(whole.writer().map_err(|error| cannot_write(&error))?),
            None => Box::new(io::stdout()),
        };
        let out: Box<dyn Write> = Box::new(BufWriter::with_capacity(BUFFER_BYTES, out));
        let sink = if format == Format::Ndjson && self.strip_prefix.is_none() {
            Ok(Sink::Lines { out, records: 0 })
        } else {
            Writer::new(format, out).map(Sink::Writer)
        };
        let mut sink = sink.map_err(|error| cannot_write(&error))?;
        let bar = progress(None);
        let written = loop {
            let block = match source.next().await {
                Ok(Some(block)) => block,
                Ok(None) => break Err(not_complete("it broke off")),
                Err(failure) => break Err(failure),
            };
            match sink.block(&block, self.strip_prefix.as_deref()) {
                Ok(None) => bar.set_position(sink.records()),
                Ok(Some(items)) if items == sink.records() => break Ok(()),
                Ok(Some(_)) => break Err(not_complete("records are missing")),
                Err(Stop::Failure(failure)) => break Err(failure),
                Err(Stop::Write(error)) if file.is_none() && error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(());
                }
                Err(Stop::Write(error)) => break Err(cannot_write(&error)),
            }
        };
        bar.finish_and_clear();
        written?;
        let exported = sink.records();
        match sink.end() {
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            ended => ended.map_err(|error| cannot_write(&error))?,
        }
        let bytes = whole.map(WholeFile::complete).transpose();
        let bytes = bytes.map_err(|error| cannot_write(&error))?.unwrap_or_default();
        self.tell(Exported { exported, bytes })
    }

    fn tell(&self, exported: Exported) -> Result<(), Failure> {
        if self.json {
            let told = io::stdout().write_all(line(&exported).as_bytes());
            return told.map_err(|error| super::cannot_write(&error));
        }
        let records = if exported.exported == 1 { "record" } else { "records" };
        note(&format!("Exported: {} {records}", exported.exported));
        Ok(())
    }
}

impl Source {
    /// Some lines; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Node(blocks) => blocks.next().await.map_err(|error| not_complete(&error.to_string())),
            Self::Store(pages) => match pages.next().await {
                None => Ok(None),
                Some(Ok(ExportPage::Records(records))) => Ok(Some(dump_lines(&records))),
                Some(Ok(ExportPage::End { items })) => Ok(Some(line(&Items { items }).into_bytes())),
                Some(Ok(ExportPage::TooSlow)) => Err(not_complete("it was read too slowly")),
                Some(Err(error)) => Err(CommandError::from(error).into()),
            },
        }
    }
}

/// Why an export ends.
enum Stop {
    Failure(Failure),
    Write(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl Sink {
    fn records(&self) -> u64 {
        match self {
            Self::Lines { records, .. } => *records,
            Self::Writer(writer) => writer.records(),
        }
    }

    /// Writes some lines. Gives how many there were in all, if that was the last one.
    fn block(&mut self, block: &[u8], strip: Option<&str>) -> Result<Option<u64>, Stop> {
        // Only the last line is none of a record.
        let begin = block
            .trim_ascii_end()
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let (records, last) = block.split_at_checked(begin).unwrap_or_default();
        let end = end_of(last)?;
        let records = if end.is_some() { records } else { block };
        match self {
            Self::Lines { out, records: count } => {
                out.write_all(records)?;
                *count += records.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            Self::Writer(writer) => {
                for record in records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    one(writer, record, strip)?;
                }
            }
        }
        Ok(end)
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Lines { mut out, .. } => out.flush(),
            Self::Writer(writer) => writer.end()?.flush(),
        }
    }
}

/// How many records there were in all, if this line says it.
fn end_of(line: &[u8]) -> Result<Option<u64>, Stop> {
    if line.starts_with(b"{\"key\":") {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).unwrap_or_default();
    if let Ok(items) = read::<Items>(text) {
        return Ok(Some(items.items));
    }
    let why = read::<report::Failure>(text);
    let (class, why) = why.map_or((Class::Failed, "it makes no sense here".to_owned()), |why| {
        (why.code, why.error)
    });
    let text = format!("The export is incomplete, and was dropped: {why}");
    Err(Stop::Failure(Failure::new(class, text)))
}

fn one(writer: &mut Writer<Box<dyn Write>>, text: &[u8], strip: Option<&str>) -> Result<(), Stop> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let record = read::<Dumped<'_>>(text);
    let mut record = record.map_err(|error| Stop::Failure(not_complete(&error.to_string())))?;
    if let Some(strip) = strip {
        let Some(rest) = record.key.strip_prefix(strip).filter(|rest| !rest.is_empty()) else {
            let text = format!(
                "{}: the key does not go on behind {strip}. The export was dropped",
                record.key
            );
            return Err(Stop::Failure(Failure::new(Class::Invalid, printable(&text))));
        };
        record.key = rest.to_owned().into();
    }
    writer.record(&record).map_err(|error| match error {
        NotExported::Inexpressible(why) => {
            let text = format!("{why}. The export was dropped. Export it as ndjson, or only other keys with --prefix");
            Stop::Failure(Failure::new(Class::Invalid, printable(&text)))
        }
        NotExported::Io(error) => Stop::Write(error),
    })
}

fn printable(text: &str) -> String {
    p2p_sync_core::text::printable(text.as_bytes())
}

fn not_complete(why: &str) -> Failure {
    let text = format!("The export is incomplete, and was dropped: {why}. Try again");
    Failure::new(Class::NotReachable, text)
}
