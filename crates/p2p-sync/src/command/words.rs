//! Splits a command line into words. Only the quotes around a word are special: a word that begins with one follows the
//! shell's rules for quoting, every other word is taken as it stands. Nothing is a comment.

use std::borrow::Cow;

/// A quote that is open at the end of the line, or a backslash behind which nothing follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quote is not closed")]
pub struct Unclosed {
    /// Where the word begins, in bytes from the start of the line.
    pub start: usize,
}

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word<'a> {
    /// Where it begins, in bytes from the start of the line.
    pub start: usize,
    /// What it says, without its quotes.
    pub text: Cow<'a, [u8]>,
    /// Whether it begins with a quote.
    pub quoted: bool,
}

impl Word<'_> {
    /// Whether it asks for an option, and so is no key: it begins with `-` and is not quoted.
    pub fn is_option(&self) -> bool {
        !self.quoted && self.text.len() > 1 && self.text.starts_with(b"-")
    }
}

/// The words of a line, one after the other.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    /// Starts in front of the first word.
    pub fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The next word; none at the end of the line.
    ///
    /// # Errors
    /// When it opens a quote that the line does not close. Nothing is taken then.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would not end at its first error"
    )]
    pub fn next(&mut self) -> Result<Option<Word<'a>>, Unclosed> {
        self.skip_separators();
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.first() else { return Ok(None) };
        let quoted = matches!(first, b'"' | b'\'');
        let len = if quoted {
            quoted_len(rest).ok_or(Unclosed { start })?
        } else {
            plain_len(rest)
        };
        let (raw, _) = rest.split_at(len);
        let text = if quoted {
            Cow::Owned(unquoted(raw).ok_or(Unclosed { start })?)
        } else {
            Cow::Borrowed(raw)
        };
        self.at += len;
        Ok(Some(Word { start, text, quoted }))
    }

    /// How far the line has been read, in bytes from its start.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Everything behind the last word and one run of separators, as it stands.
    pub fn rest_of_line(mut self) -> &'a [u8] {
        self.skip_separators();
        self.rest()
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn skip_separators(&mut self) {
        self.at += self.rest().iter().take_while(|byte| is_separator(**byte)).count();
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn plain_len(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| !is_separator(**byte)).count()
}

/// The length of the word up to the first separator outside quotes.
fn quoted_len(rest: &[u8]) -> Option<usize> {
    let mut open = None;
    let mut escaped = false;
    for (at, byte) in rest.iter().enumerate() {
        match (open, byte) {
            _ if escaped => escaped = false,
            (None | Some(b'"'), b'\\') => escaped = true,
            (None, b'"' | b'\'') => open = Some(*byte),
            (Some(quote), byte) if quote == *byte => open = None,
            (None, byte) if is_separator(*byte) => return Some(at),
            _ => {}
        }
    }
    (open.is_none() && !escaped).then_some(rest.len())
}

fn unquoted(raw: &[u8]) -> Option<Vec<u8>> {
    shlex::bytes::split(raw)?.into_iter().next()
}

/// The text as one word of a line: as it is where that is possible and quotes are not asked for, otherwise between quotes.
pub fn as_word(text: &str, quotes: bool) -> String {
    let bare = !quotes && !text.contains([' ', '\t']) && !text.is_empty() && !text.starts_with(['"', '\'', '-']);
    if bare {
        return text.to_owned();
    }
    let mut word = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            word.push('\\');
        }
        word.push(c);
    }
    word.push('"');
    word
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn all(line: &[u8]) -> Result<Vec<Vec<u8>>, Unclosed> {
        let mut words = Words::new(line);
        let mut found = Vec::new();
        while let Some(word) = words.next()? {
            found.push(word.text.into_owned());
        }
        Ok(found)
    }

    #[test]
    fn words_are_what_stands_between_blanks() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b" \t ", &[]),
            (b"get hello", &[b"get", b"hello"]),
            (b"  get\t\thello  ", &[b"get", b"hello"]),
            (
                b"get it's a\\b #c \x22d e\x22",
                &[b"get", b"it's", b"a\\b", b"#c", b"d e"],
            ),
            (b"a\"b c\"", &[b"a\"b", b"c\""]),
            (b"'single quoted' x", &[b"single quoted", b"x"]),
            (br#""a \"b\" \\ \n" c"#, &[br#"a "b" \ \n"#, b"c"]),
            (br#"'a'"'"'b' c"#, &[b"a'b", b"c"]),
            (b"'' \"\"", &[b"", b""]),
            (
                "hällo \"wörld 🌍\"".as_bytes(),
                &["hällo".as_bytes(), "wörld 🌍".as_bytes()],
            ),
            (b"\xff\xfe '\xff \x00'", &[b"\xff\xfe", b"\xff \x00"]),
        ];
        for (line, words) in cases {
            assert_eq!(all(line).unwrap(), *words, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_quote_that_stays_open_is_an_error_at_its_word() {
        for line in [
            &b"get \"a b"[..],
            b"get 'a",
            b"get 'a b'\"",
            br#"get "a\""#,
            br#"get "a"\"#,
        ] {
            assert_eq!(all(line), Err(Unclosed { start: 4 }), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_rest_is_verbatim_behind_one_run_of_blanks() {
        let mut words = Words::new(b"add k  \t v  \"w\" ");
        words.next().unwrap();
        words.next().unwrap();
        assert_eq!(words.rest_of_line(), b"v  \"w\" ");
        assert_eq!(Words::new(b"").rest_of_line(), b"");
    }

    #[test]
    fn only_bare_words_are_options() {
        let option = |line: &[u8]| Words::new(line).next().unwrap().unwrap().is_option();
        assert!(option(b"--json"));
        assert!(option(b"-x"));
        assert!(!option(b"\"--json\""));
        assert!(!option(b"-"));
        assert!(!option(b"a-b"));
    }
}
