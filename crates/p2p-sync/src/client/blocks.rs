//! The lines of an answer, many at a time, for whoever hands them on as they are.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::ClientError;

/// Nothing longer is a line here: a record of the largest size, each byte of it an escape.
const LINE_BYTES_MAX: usize = 2 << 20;

/// Whole lines.
#[derive(Debug)]
pub struct Blocks {
    body: Incoming,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

impl Blocks {
    pub(super) fn of(body: Incoming) -> Self {
        Self {
            body,
            begun: Vec::new(),
        }
    }

    /// The next lines, each with its end; none at the end of the answer.
    ///
    /// # Errors
    /// When the node has gone away.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            match self.body.frame().await {
                None if self.begun.is_empty() => return Ok(None),
                None => return Err(ClientError::Unanswered("a line breaks off".to_owned())),
                Some(Err(error)) => return Err(ClientError::Unanswered(error.to_string())),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let end = data.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                    let (lines, rest) = data.split_at_checked(end.unwrap_or_default()).unwrap_or_default();
                    let mut block = std::mem::take(&mut self.begun);
                    block.extend_from_slice(lines);
                    if end.is_none() {
                        block.extend_from_slice(rest);
                        self.begun = block;
                    } else {
                        self.begun = rest.to_vec();
                        return Ok(Some(block));
                    }
                }
            }
            if self.begun.len() > LINE_BYTES_MAX {
                return Err(ClientError::Unanswered("it sends a line without end".to_owned()));
            }
        }
    }
}
