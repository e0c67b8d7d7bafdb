//! Frames out of a stream.

use super::{Frame, InvalidFrame};
use crate::limits::SYNC_FRAME_BYTES_MAX;
use crate::sync::codec::Reader;

/// Frames out of a stream of bytes, however it was cut up. Holds at most one frame and what was pushed behind it.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// How many of them were read already.
    read: usize,
    signed: bool,
}

impl FrameBuffer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one for the frames of a private network, in which every record carries a signature.
    pub fn signed() -> Self {
        Self {
            signed: true,
            ..Self::default()
        }
    }

    /// Takes bytes from the stream. Call [`next_frame`](Self::next_frame) until it has nothing more before pushing
    /// again: that is what bounds the memory.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait to be read: a frame takes what there is less after it was read than before.
    pub fn unread(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// The next frame; none until more bytes come. Frames of unknown kinds are passed over.
    ///
    /// # Errors
    /// When there can be no frame: the stream is of no use any longer.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, InvalidFrame> {
        loop {
            let mut r = Reader::new(self.bytes.get(self.read..).unwrap_or_default());
            let available = r.rest().len();
            let length = match r.number() {
                Ok(length) => length,
                Err(InvalidFrame::Short) => return Ok(None),
                Err(error) => return Err(error),
            };
            if length > SYNC_FRAME_BYTES_MAX as u64 {
                return Err(InvalidFrame::TooLong { bytes: length });
            }
            let Some(body) = usize::try_from(length).ok().and_then(|length| r.rest().get(..length)) else {
                return Ok(None);
            };
            self.read += available - r.rest().len() + body.len();
            if let Some(frame) = Frame::read(body, self.signed)? {
                return Ok(Some(frame));
            }
        }
    }
}
