//! One name, and how it is written in an agent version.

use std::fmt::Write as _;

/// Longest name, in bytes. Longer ones are cut by whoever has them, and ignored by whoever hears them.
pub const NAME_BYTES_MAX: usize = 64;

/// What a node is called: 1 to 64 bytes, without blanks at either end. It is foreign text, which may hold
/// anything else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// A name without the blanks round it; none if nothing else is left, or too much.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        fits.then(|| Self(text.to_owned()))
    }

    /// The same, cut after as many whole characters as fit.
    pub fn cut(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = (0..=NAME_BYTES_MAX.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end))?;
        Self::new(text.get(..end)?)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a segment of a URL's path: letters, digits, `-`, `.`, `_` and `~` of ASCII stay, any other byte becomes
    /// `%` and two hexadecimal digits.
    pub fn encode(&self) -> String {
        let mut encoded = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                // Writing to a string fails only when a `Display` does, and those of integers do not.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    }

    /// Reads what [`encode`](Self::encode) wrote; other characters that need no escape may have one, and the other way round.
    /// None if an escape is broken, or if what comes out is no name. Reads no more than the longest name takes.
    pub fn decode(segment: &str) -> Option<Self> {
        if segment.len() > 3 * NAME_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(segment.len());
        let mut rest = segment.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first == b'%' {
                let (digits, after) = after.split_first_chunk::<2>()?;
                let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
                bytes.push(u8::try_from(high? * 16 + low?).ok()?);
                rest = after;
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        Self::new(std::str::from_utf8(&bytes).ok()?)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_needs_no_escape_has_none() {
        let written = |name: &str| Name::new(name).unwrap().encode();
        assert_eq!(written("kitchen"), "kitchen");
        assert_eq!(written("a-b.c_d~9"), "a-b.c_d~9");
        assert_eq!(written("Küche 2/%"), "K%C3%BCche%202%2F%25");
        assert_eq!(written("\u{1b}\u{202e}"), "%1B%E2%80%AE");
    }

    #[test]
    fn either_way_to_write_a_character_is_read() {
        for text in ["kitchen", "%6b%69tchen", "%6B%69tchen", "%20kitchen%20"] {
            assert_eq!(Name::decode(text).unwrap().as_str(), "kitchen", "{text}");
        }
        assert_eq!(Name::decode("K%C3%BCche+2").unwrap().as_str(), "Küche+2");
    }

    #[test]
    fn what_is_no_name_is_none() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let very_long = "%41".repeat(100_000);
        let broken = ["", "%20", "%", "a%", "a%4", "a%zz", "a%+1", "%ff", "%C3", "a%C3%28"];
        for text in broken.into_iter().chain([long.as_str(), very_long.as_str()]) {
            assert_eq!(Name::decode(text), None, "{text:.20}");
        }
        assert!(Name::decode(&"%41".repeat(NAME_BYTES_MAX)).is_some());
    }

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        assert_eq!(Name::cut("kitchen").unwrap().as_str(), "kitchen");
        assert_eq!(Name::cut(&"é".repeat(40)).unwrap().as_str(), "é".repeat(32));
        assert_eq!(Name::cut(&format!("x{}", "日".repeat(40))).unwrap().as_str().len(), 64);
        assert_eq!(Name::cut(&format!("xy{}", "日".repeat(40))).unwrap().as_str().len(), 62);
        assert_eq!(Name::cut(&format!("x{}y", " ".repeat(70))).unwrap().as_str(), "x");
        assert_eq!((Name::cut(""), Name::cut(" \t\u{a0}")), (None, None));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_cut_to_what_fits(text in "\\PC*|.*|[ \u{0}-\u{ff}]{0,100}") {
            let name = Name::cut(&text);
            prop_assert_eq!(name.is_none(), text.trim().is_empty());
            if let Some(name) = name {
                prop_assert!(name.as_str().len() <= NAME_BYTES_MAX);
                prop_assert!(text.trim().starts_with(name.as_str()));
                let written = name.encode();
                prop_assert!(written.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
                prop_assert_eq!(Name::decode(&written), Some(name));
            }
        }

        #[test]
        fn nothing_that_is_read_is_more_than_a_name(text in ".{0,300}|(%[0-9a-fA-F]{0,2}|.){0,80}") {
            if let Some(name) = Name::decode(&text) {
                prop_assert!((1..=NAME_BYTES_MAX).contains(&name.as_str().len()));
                prop_assert_eq!(name.as_str().trim(), name.as_str());
                prop_assert_eq!(Name::decode(&name.encode()), Some(name));
            }
        }
    }
}
