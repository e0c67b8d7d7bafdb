//! Bytes of an input one after the other, with the number of the line.

use std::io::{self, BufRead};

/// An input that is looked at byte by byte.
pub(super) struct Scan<'a> {
    input: &'a mut dyn BufRead,
    line: u64,
}

/// Bytes of one record: a value with every byte escaped, and as much again.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 20;

impl<'a> Scan<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead) -> Self {
        Self { input, line: 1 }
    }

    /// The line of the next byte, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The next byte, which stays.
    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    /// The next byte.
    pub(super) fn next(&mut self) -> io::Result<Option<u8>> {
        let next = self.peek()?;
        if let Some(byte) = next {
            self.input.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(next)
    }

    /// The next bytes as long as they are such, but not more than a record may have; where there are more, they are passed over.
    pub(super) fn take_while(&mut self, is_such: impl Fn(u8) -> bool) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        while let Some(byte) = self.peek()?.filter(|byte| is_such(*byte)) {
            self.next()?;
            if taken.len() <= RECORD_BYTES_MAX {
                taken.push(byte);
            }
        }
        Ok(taken)
    }

    /// What is left of the line, without its end; behind it the next line begins.
    pub(super) fn rest_of_line(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = self.take_while(|byte| byte != b'\n')?;
        self.next()?;
        if rest.last() == Some(&b'\r') {
            rest.pop();
        }
        Ok(rest)
    }

    /// So many bytes; fewer at the end. Beyond what a record may have they are passed over.
    pub(super) fn take(&mut self, count: u64) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        let mut left = count;
        while left > 0 {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let some = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let bytes = bytes.get(..some).unwrap_or_default();
            self.line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            if taken.len() <= RECORD_BYTES_MAX {
                taken.extend_from_slice(bytes);
            }
            self.input.consume(some);
            left -= some as u64;
        }
        Ok(taken)
    }
}
