//! A page of an import: records as they come from a file, written in one transaction. There is no command of this name; `import` in
//! the shell and the local API use it.

use p2p_sync_core::{Content, Key, Value};

use super::{Class, CommandError};
use crate::node::{Condition, Node, NodeError, Write};
use crate::report::{Dumped, ImportPage, Overwrite, PageImported};

/// Writes those records of a page that its rule allows, or, in a dry run, counts them.
///
/// # Errors
/// If a record is none, or cannot be written; nothing of the page was written then.
pub async fn import_page(node: &Node, page: ImportPage<'_>) -> Result<PageImported, CommandError> {
    let count = page.records.len() as u64;
    let (overwrite, dry_run) = (page.overwrite, page.dry_run);
    let mut writes = Vec::with_capacity(page.records.len());
    for (index, record) in page.records.into_iter().enumerate() {
        writes.push(write(record, overwrite).map_err(|error| of_record(index, &error))?);
    }
    let imported = if dry_run {
        node.count_due(writes).await
    } else {
        node.write_due(writes).await
    };
    let imported = imported.map_err(|error| match error {
        NodeError::OfWrites { index, error } => of_record(index, &CommandError::from(*error)),
        other => other.into(),
    })?;
    Ok(PageImported {
        imported,
        kept: count.saturating_sub(imported),
    })
}

fn of_record(index: usize, error: &CommandError) -> CommandError {
    let text = error.to_string();
    let end = if text.ends_with('.') { "" } else { "." };
    let text = format!("Record {index} of the page, counted from 0: {text}{end} None of the page was written.");
    CommandError::new(error.class, text)
}

fn write(record: Dumped<'_>, overwrite: Overwrite) -> Result<Write, CommandError> {
    let invalid = |why: String| CommandError::new(Class::Invalid, why);
    let bytes = record
        .content()
        .map_err(|why| invalid(format!("{}: {why}.", record.key)))?;
    let value = bytes.map(Value::new).transpose()?;
    let condition = match (overwrite, &record.timestamp) {
        (Overwrite::Never, _) => Condition::Absent,
        (Overwrite::Always, _) => Condition::None,
        (Overwrite::Older, None) => return Err(invalid("`older` needs a `timestamp` in each record.".to_owned())),
        (Overwrite::Older, Some(text)) => {
            let at = text.parse();
            Condition::OlderThan(at.map_err(|_| invalid(format!("Invalid timestamp: {text}.")))?)
        }
    };
    Ok(Write {
        key: Key::new(record.key)?,
        content: value.map_or(Content::Deleted, Content::Put),
        terms: condition.into(),
    })
}
