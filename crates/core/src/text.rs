//! Makes foreign text safe to display. Keys and values are stored byte for byte; before they reach a terminal, a log or a
//! page, anything that could move the cursor, reverse the text or hide in it is replaced by a visible escape.

use std::fmt::Write;

/// Characters that [`shortened`] keeps.
pub const SHORTENED_CHARACTERS_MAX: usize = 80;

/// The bytes as one line of visible text.
///
/// Line feed, tab and carriage return become `\n`, `\t`, `\r`; other control characters and everything invisible that
/// changes how its neighbours read (bidirectional marks, zero-width characters, fillers, tags) become `\u{..}`, bytes that
/// are not UTF-8 `\xNN`. All other text stays as it is, emoji with their joiners and variation selectors too. A backslash
/// is not doubled: the result is for people to read, and cannot be decoded.
pub fn printable(bytes: &[u8]) -> String {
    escape(bytes, usize::MAX).0
}

/// As [`printable`], cut after [`SHORTENED_CHARACTERS_MAX`] characters; a cut text ends in the full size, such as `… (65536
/// bytes)`. Reads no more of the input than it shows.
pub fn shortened(bytes: &[u8]) -> String {
    let (mut text, complete) = escape(bytes, SHORTENED_CHARACTERS_MAX);
    if !complete {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}

/// The escaped text up to a number of characters, and whether that was all. An escape is never cut in two.
fn escape(bytes: &[u8], characters_max: usize) -> (String, bool) {
    let mut text = Text {
        shown: String::with_capacity(bytes.len().min(characters_max)),
        left: characters_max,
    };
    for chunk in bytes.utf8_chunks() {
        let mut before = None;
        let mut characters = chunk.valid().chars().peekable();
        while let Some(c) = characters.next() {
            let is_plain = !is_hidden(c) || is_part_of_emoji(before, c, characters.peek().copied());
            let fits = match c {
                _ if is_plain => text.push(c),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                _ => text.push_escape(format_args!("\\u{{{:x}}}", u32::from(c))),
            };
            if !fits {
                return (text.shown, false);
            }
            // An escaped character is no longer part of an emoji.
            before = is_plain.then_some(c);
        }
        for byte in chunk.invalid() {
            if !text.push_escape(format_args!("\\x{byte:02X}")) {
                return (text.shown, false);
            }
        }
    }
    (text.shown, true)
}

/// A text that grows up to a number of characters; what does not fit as a whole is left out.
struct Text {
    shown: String,
    left: usize,
}

impl Text {
    fn push(&mut self, c: char) -> bool {
        let fits = self.left > 0;
        if fits {
            self.left -= 1;
            self.shown.push(c);
        }
        fits
    }

    /// `escape` is ASCII: as many characters as bytes.
    fn push_str(&mut self, escape: &str) -> bool {
        let fits = escape.len() <= self.left;
        if fits {
            self.left -= escape.len();
            self.shown.push_str(escape);
        }
        fits
    }

    fn push_escape(&mut self, escape: std::fmt::Arguments<'_>) -> bool {
        let mut buffer = String::with_capacity(10);
        // Writing to a string fails only when a `Display` does, and those of integers do not.
        buffer.write_fmt(escape).is_ok() && self.push_str(&buffer)
    }
}

/// Characters that are invisible but affect the terminal or the text around them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' // Mongolian selectors and vowel separator
            | '\u{200b}'..='\u{200f}' // zero-width characters, direction marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, isolates
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' // shorthand and musical formatting
            | '\u{e0000}'..='\u{e0fff}' // tags and more variation selectors
        )
        // Noncharacters: the last two of each plane, and the 32 that stand among the Arabic forms.
        || u32::from(c) & 0xfffe == 0xfffe
        || ('\u{fdd0}'..='\u{fdef}').contains(&c)
}

/// Whether a hidden character has its proper role in an emoji: a joiner between two, a selector after one.
fn is_part_of_emoji(before: Option<char>, c: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    match c {
        '\u{200d}' => (is_pictograph(before) || before == '\u{fe0f}') && after.is_some_and(is_pictograph),
        '\u{fe0e}' | '\u{fe0f}' => {
            is_pictograph(before) || matches!(before, '0'..='9' | '#' | '*' | '©' | '®' | '‼' | '⁉' | '™' | 'ℹ')
        }
        _ => false,
    }
}

/// The blocks that hold emoji: coarse, but with nothing in them that is invisible.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{2460}'..='\u{24ff}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}'
        | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        printable(text.as_bytes())
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in [
            "",
            "hello world",
            "C:\\temp",
            "日本語 한국어 हिन्दी عربى",
            "naïve Ⅷ ½ “x”",
            "👋🏽 👨‍👩‍👧 ❤️ 🇯🇵 1️⃣ ☂︎ 🏳️‍🌈",
            "a\u{300}\u{301}",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn controls_are_escaped() {
        assert_eq!(shown("a\nb\tc\rd"), "a\\nb\\tc\\rd");
        assert_eq!(
            shown("\u{1b}[31mred\u{7}\0\u{7f}\u{9b}2J"),
            "\\u{1b}[31mred\\u{7}\\u{0}\\u{7f}\\u{9b}2J"
        );
    }

    #[test]
    fn what_hides_or_turns_text_round_is_escaped() {
        assert_eq!(shown("exe\u{202e}gpj.txt"), "exe\\u{202e}gpj.txt");
        for c in [
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2066}',
            '\u{feff}',
            '\u{ad}',
            '\u{61c}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{e0041}',
            '\u{ffff}',
            '\u{10fffe}',
        ] {
            assert_eq!(shown(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
        assert_eq!(shown("👨\u{200d}"), "👨\\u{200d}", "a joiner that joins nothing");
        assert_eq!(shown("a\u{200d}👨"), "a\\u{200d}👨");
        assert_eq!(shown("❤\u{fe0f}\u{fe0f}"), "❤\u{fe0f}\\u{fe0f}");
        assert_eq!(shown("a\u{fe0f}\u{200d}👨"), "a\\u{fe0f}\\u{200d}👨");
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_in_hexadecimal() {
        assert_eq!(printable(b"a\xff\xc3(\xe2\x82"), "a\\xFF\\xC3(\\xE2\\x82");
    }

    #[test]
    fn printing_twice_changes_nothing_more() {
        let once = printable("\u{1b}]0;x\u{7} \u{202e} 👨‍👩‍👧 \u{200d}".as_bytes());
        assert_eq!(shown(&once), once);
    }

    #[test]
    fn long_text_is_cut_and_says_its_size() {
        assert_eq!(shortened(&[b'x'; 80]), "x".repeat(80));
        assert_eq!(shortened(&[b'x'; 81]), format!("{}… (81 bytes)", "x".repeat(80)));
        assert_eq!(
            shortened("é".repeat(41).as_bytes()),
            "é".repeat(41),
            "characters count, not bytes"
        );
        assert_eq!(
            shortened(&[0; 65_536]),
            format!("{}… (65536 bytes)", "\\u{0}".repeat(16))
        );
        assert_eq!(
            shortened(&[b"x".repeat(79), b"\xff".to_vec()].concat()),
            format!("{}… (80 bytes)", "x".repeat(79)),
            "no escape is cut in two"
        );
    }
}
