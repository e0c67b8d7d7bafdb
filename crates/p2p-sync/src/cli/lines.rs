//! Splits a stream of any bytes into lines of bounded length.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::thread;
use std::time::Duration;

/// Longest line that is taken as a command: a key and a value with room to spare.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;
/// How often an input is asked again that another process has set not to wait.
const RETRY: Duration = Duration::from_millis(10);

/// A line without its line end, which is a line feed, or a carriage return and a line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A line within [`LINE_BYTES_MAX`].
    Whole(Vec<u8>),
    /// The start of a line that was longer and has been skipped.
    TooLong(Vec<u8>),
}

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: BufReader<R>,
    first: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(64 * 1024, input),
            first: true,
        }
    }

    /// The next line; none at the end. The last line needs no line end.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut skipped = false;
        let mut any = false;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(RETRY);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(any.then(|| self.finish(line, skipped, false)));
            }
            any = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            // One more than is allowed, because the last one may belong to the line end.
            let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
            skipped |= part.len() > room;
            line.extend(part.iter().take(room));
            let taken = part.len() + usize::from(end.is_some());
            self.input.consume(taken);
            if end.is_some() {
                return Ok(Some(self.finish(line, skipped, true)));
            }
        }
    }

    fn finish(&mut self, mut line: Vec<u8>, skipped: bool, ended: bool) -> Line {
        if ended && !skipped && line.last() == Some(&b'\r') {
            line.pop();
        }
        // Some programs begin a text with a mark of its encoding.
        if std::mem::take(&mut self.first) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..'\u{feff}'.len_utf8());
        }
        if skipped || line.len() > LINE_BYTES_MAX {
            Line::TooLong(line)
        } else {
            Line::Whole(line)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn all(input: impl Read) -> Vec<Line> {
        let mut lines = Lines::new(input);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(line);
        }
        found
    }

    fn whole(lines: &[&[u8]]) -> Vec<Line> {
        lines.iter().map(|line| Line::Whole(line.to_vec())).collect()
    }

    #[test]
    fn lines_end_with_a_feed_or_a_return_and_a_feed() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b"\n", &[b""]),
            (b"a\nb\n", &[b"a", b"b"]),
            (b"a\nb", &[b"a", b"b"]),
            (b"a\r\nb\r\n", &[b"a", b"b"]),
            (b"a\rb\r\n\r\n", &[b"a\rb", b""]),
            (b"a\r\r\nb\r", &[b"a\r", b"b\r"]),
            (b"a\x00b\n\xff\xfe\n", &[b"a\x00b", b"\xff\xfe"]),
            ("\u{feff}a\n\u{feff}b\n".as_bytes(), &[b"a", "\u{feff}b".as_bytes()]),
        ];
        for (input, lines) in cases {
            assert_eq!(all(*input), whole(lines), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_as_a_whole() {
        let fits = vec![b'x'; LINE_BYTES_MAX];
        let long = vec![b'y'; LINE_BYTES_MAX + 1];
        let longer = vec![b'z'; 3 * LINE_BYTES_MAX + 17];
        let input = [&fits[..], b"\r\n", &long, b"\n", &longer, b"\nnext\n", &long].concat();
        let lines = all(&input[..]);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], Line::Whole(fits));
        for (at, byte) in [(1, b'y'), (2, b'z'), (4, b'y')] {
            match &lines[at] {
                Line::TooLong(head) => assert!(head.len() <= LINE_BYTES_MAX + 1 && head.iter().all(|b| *b == byte)),
                Line::Whole(_) => panic!("line {at}"),
            }
        }
        assert_eq!(lines[3], Line::Whole(b"next".to_vec()));
    }

    #[test]
    fn the_pieces_in_which_a_line_arrives_do_not_matter() {
        struct OneByOne<'a>(&'a [u8], bool);
        impl Read for OneByOne<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(ErrorKind::Interrupted.into());
                }
                let Some((first, rest)) = self.0.split_first() else {
                    return Ok(0);
                };
                buffer[0] = *first;
                self.0 = rest;
                Ok(1)
            }
        }
        assert_eq!(
            all(OneByOne(b"add k v\r\nget k", false)),
            whole(&[b"add k v", b"get k"])
        );
    }

    #[test]
    fn an_input_that_fails_is_an_error_and_not_an_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::IsADirectory.into())
            }
        }
        assert_eq!(Lines::new(Broken).next().unwrap_err().kind(), ErrorKind::IsADirectory);
    }
}
