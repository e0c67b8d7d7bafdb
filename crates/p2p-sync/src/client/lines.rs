//! The lines of an answer, as they come: one JSON value each.

use std::marker::PhantomData;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::ClientError;
use crate::report::read;

/// The longest line: a page of the largest values, each byte of them an escape.
const LINE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Values of JSON, one a line.
#[derive(Debug)]
pub struct Lines<T> {
    body: Incoming,
    /// What came and was not given yet, and how far in it no line ends.
    came: Vec<u8>,
    searched: usize,
    /// How long nothing may come while somebody waits for the next value; none: as long as it takes.
    patience: Option<Duration>,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(super) fn of(body: Incoming, patience: Option<Duration>) -> Self {
        Self {
            body,
            came: Vec::new(),
            searched: 0,
            patience,
            value: PhantomData,
        }
    }

    /// The next value; none at the end.
    ///
    /// # Errors
    /// When the node has gone away, is silent for too long, or says what nobody understands. It is the end then.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return parse(&line).map(Some);
            }
            let frame = match self.patience {
                None => self.body.frame().await,
                Some(patience) => match timeout(patience, self.body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => return Err(ClientError::TimedOut),
                },
            };
            match frame {
                None if self.came.is_empty() => return Ok(None),
                None => return parse(&std::mem::take(&mut self.came)).map(Some),
                Some(Err(error)) => return Err(ClientError::Unanswered(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.came.extend_from_slice(&data);
                    }
                }
            }
            if self.came.len() > LINE_BYTES_MAX {
                return Err(ClientError::Unanswered("it sends a line without end".to_owned()));
            }
        }
    }

    /// Whether a whole line has come already, so that [`next`](Self::next) need not wait.
    pub fn has_more(&self) -> bool {
        self.came.get(self.searched..).unwrap_or_default().contains(&b'\n')
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let new = self.came.get(self.searched..).unwrap_or_default();
        match new.iter().position(|byte| *byte == b'\n') {
            None => {
                self.searched = self.came.len();
                None
            }
            Some(at) => {
                let rest = self.came.split_off(self.searched + at + 1);
                self.searched = 0;
                Some(std::mem::replace(&mut self.came, rest))
            }
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, ClientError> {
    let unknown = |why: String| ClientError::Unanswered(format!("the node's answer makes no sense here ({why})"));
    let text = std::str::from_utf8(line).map_err(|error| unknown(error.to_string()))?;
    read(text).map_err(|error| unknown(error.to_string()))
}

/// A whole body as text; none if it is too long, or none.
pub(super) async fn whole(body: Incoming, bytes_max: usize) -> Option<String> {
    let bytes = Limited::new(body, bytes_max).collect().await.ok()?.to_bytes();
    String::from_utf8(bytes.to_vec()).ok()
}
