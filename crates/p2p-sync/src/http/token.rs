//! The secret that every request but `/healthz` must know. It lies in a file that only the user of the node can read, so that
//! whoever knows it may do as that user.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use data_encoding::HEXLOWER;

use super::ApiError;
use crate::node::{exposure, write_private};

/// Bytes of chance in a new token.
const BYTES: usize = 32;
/// Lengths of a token in characters.
const SHORTEST: usize = 32;
const LONGEST: usize = 1_024;

/// A token, of which only a hash is kept: comparing hashes takes the same time whatever is compared.
#[derive(Clone, Copy)]
pub(super) struct Token(blake3::Hash);

impl Token {
    /// The one in this file; a new one if there is none.
    ///
    /// # Errors
    /// If it is known to others, unusable, or cannot be read or written.
    pub(super) fn load_or_create(file: &Path) -> Result<Self, ApiError> {
        let io_error = |source| ApiError::File {
            file: file.to_owned(),
            source,
        };
        match fs::symlink_metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = HEXLOWER.encode(&rand::random::<[u8; BYTES]>());
                write_private(file, format!("{text}\n").as_bytes()).map_err(io_error)?;
                Ok(Self::of(&text))
            }
            Err(error) => Err(io_error(error)),
            // Opening a pipe would block until somebody writes to it; a link leads to a file of somebody else's choice.
            Ok(found) if !found.is_file() => Err(ApiError::TokenExposed {
                file: file.to_owned(),
                why: "is not a file of its own".to_owned(),
            }),
            Ok(_) => Self::load(file, File::open(file).map_err(io_error)?),
        }
    }

    fn load(file: &Path, opened: File) -> Result<Self, ApiError> {
        let io_error = |source| ApiError::File {
            file: file.to_owned(),
            source,
        };
        if let Some(why) = exposure(&opened.metadata().map_err(io_error)?) {
            return Err(ApiError::TokenExposed {
                file: file.to_owned(),
                why,
            });
        }
        let mut text = String::new();
        let read = opened.take(LONGEST as u64 + 2).read_to_string(&mut text);
        let token = text.trim();
        let is_token = (SHORTEST..=LONGEST).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        match read {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(io_error(error)),
            Ok(_) if is_token => Ok(Self::of(token)),
            _ => Err(ApiError::NoToken { file: file.to_owned() }),
        }
    }

    fn of(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()))
    }

    /// Whether this is it.
    pub(super) fn is(&self, text: &[u8]) -> bool {
        self.0 == blake3::hash(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Class;

    #[test]
    fn it_is_made_once_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("api.token");
        let made = Token::load_or_create(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.trim().len(), 2 * BYTES);
        let loaded = Token::load_or_create(&file).unwrap();
        assert!(made.is(text.trim().as_bytes()) && loaded.is(text.trim().as_bytes()));
        assert!(!made.is(b"") && !made.is(text.as_bytes()));
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }

    #[cfg(unix)]
    #[test]
    fn one_that_others_may_know_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("api.token");
        Token::load_or_create(&file).unwrap();
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        for mode in [0o640, 0o604, 0o622, 0o777] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let error = Token::load_or_create(&file).err().unwrap();
            assert_eq!(error.class(), Class::NotPermitted);
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        assert_eq!(Token::load_or_create(&file).err().unwrap().class(), Class::NotPermitted);
    }

    #[test]
    fn what_is_no_token_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("api.token");
        for content in ["", "\n", "short", &"x".repeat(LONGEST + 1), &"a b ".repeat(20)] {
            let _ = fs::remove_file(&file);
            write_private(&file, content.as_bytes()).unwrap();
            let error = Token::load_or_create(&file).err().unwrap();
            assert_eq!(error.class(), Class::Storage, "{content}");
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
        }
    }
}
