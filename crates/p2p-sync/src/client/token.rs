//! The secret that the local API asks for. Whoever can read it can do what the node's user can do, so a file that others can read,
//! or could have placed, is refused.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::cannot_read;
use crate::command::{Class, CommandError};
use crate::node::exposure;

/// The longest token that is read.
const TOKEN_BYTES_MAX: u64 = 1024;

/// The token; none if there is no file, or nothing in it yet.
pub(super) fn read(file: &Path) -> Result<Option<String>, CommandError> {
    let failed = |error: io::Error| cannot_read(file, &error);
    let Some(opened) = open(file).map_err(failed)? else {
        return Ok(None);
    };
    if let Some(why) = exposure(&opened.metadata().map_err(failed)?) {
        let text = format!(
            "{} {why}. Nothing was done. Run this as the user who started the node. If that is this one, stop the node, remove that \
             file, and start the node again: it makes a new one",
            file.display()
        );
        return Err(CommandError::new(Class::NotPermitted, text));
    }
    let mut text = String::new();
    opened.take(TOKEN_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    Ok(is_token.then(|| token.to_owned()))
}

/// The text of a small file; none if there is none.
pub(super) fn read_small(file: &Path, bytes_max: u64) -> io::Result<Option<String>> {
    let Some(opened) = open(file)? else {
        return Ok(None);
    };
    let mut text = String::new();
    opened.take(bytes_max).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// A file of its own; none if there is none. A pipe would be waited for.
fn open(file: &Path) -> io::Result<Option<File>> {
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is not a regular file")),
        found => found?,
    };
    match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("api.token");
        assert_eq!(read(&file).unwrap(), None);
        std::fs::write(&file, "secret\n").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&file)
        };
        assert_eq!(with_mode(0o600).unwrap().as_deref(), Some("secret"));
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let refused = with_mode(mode).unwrap_err();
            assert_eq!(refused.class, Class::NotPermitted);
            assert!(refused.to_string().contains(&format!("{mode:03o}")), "{refused}");
        }
        std::fs::write(&file, "").unwrap();
        assert_eq!(with_mode(0o600).unwrap(), None, "it is being written");
    }
}
