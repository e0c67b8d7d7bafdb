//! Words of a command as JSON: text. Only keys, prefixes and names are words when a command travels, and those are UTF-8; a word that
//! is not cannot be sent.

use std::ffi::OsString;

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One word, perhaps one, or several.
pub(super) trait AsText: Sized {
    type Text: Serialize + DeserializeOwned;

    fn text(&self) -> Option<Self::Text>;

    fn of(text: Self::Text) -> Self;
}

impl AsText for OsString {
    type Text = String;

    fn text(&self) -> Option<String> {
        self.to_str().map(str::to_owned)
    }

    fn of(text: String) -> Self {
        text.into()
    }
}

impl<T: AsText> AsText for Option<T> {
    type Text = Option<T::Text>;

    fn text(&self) -> Option<Self::Text> {
        match self {
            None => Some(None),
            Some(word) => word.text().map(Some),
        }
    }

    fn of(text: Self::Text) -> Self {
        text.map(T::of)
    }
}

impl<T: AsText> AsText for Vec<T> {
    type Text = Vec<T::Text>;

    fn text(&self) -> Option<Self::Text> {
        self.iter().map(T::text).collect()
    }

    fn of(text: Self::Text) -> Self {
        text.into_iter().map(T::of).collect()
    }
}

pub(super) fn serialize<T: AsText, S: Serializer>(words: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let text = words.text().ok_or_else(|| S::Error::custom("a word is not UTF-8"))?;
    text.serialize(serializer)
}

pub(super) fn deserialize<'de, T: AsText, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::Text::deserialize(deserializer).map(T::of)
}

/// Values whose text is their JSON too, such as timestamps.
pub(super) mod displayed {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::command) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(T::to_string).serialize(serializer)
    }

    pub(in crate::command) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::command::{Command, CommandError, Reply, parse_line};
    use crate::report::{Class, line, read};

    #[test]
    fn commands_arrive_as_they_were_sent() {
        let lines: &[&[u8]] = &[
            b"get k",
            b"get --json \xc3\xbc",
            b"delete --if-timestamp 2025-01-04T08:30:15Z a b",
            b"delete --now a",
            b"list",
            b"list --json p",
            b"status",
            b"peers kitchen",
            b"sync",
            b"verify",
            b"backup /some/file",
            b"doctor --json",
            b"conflicts --limit 7 p",
            b"resolve --all",
            b"resolve k 2025-01-04T08:30:15Z",
            b"repair-clock",
            b"help add",
            b"exit",
        ];
        for words in lines {
            let command = parse_line(words).unwrap().unwrap();
            assert_eq!(read::<Command>(&line(&command)).unwrap(), command);
        }
        let add = |words: &[u8]| {
            let command = parse_line(words).unwrap().unwrap();
            let sent = line(&command);
            let arrived: Command = read(&sent).unwrap();
            assert_eq!(line(&arrived), sent);
            sent
        };
        let head = r#"{"add":{"format":{"json":false},"now":false,"if_absent":true,"if_timestamp":null,"key":"k","#;
        assert_eq!(
            add(b"add --if-absent k  two  words "),
            format!("{head}\"value\":\"two  words \"}}}}\n")
        );
        let bytes = add(b"add k \xff");
        assert!(bytes.contains(r#""value_b64":"/w==""#), "{bytes}");
        assert!(add(b"add --value-b64=/w== k").contains(r#""value_b64":"/w==""#));
        assert!(add(b"add --empty k").contains(r#""value":"""#));
    }

    #[test]
    fn what_this_version_does_not_know_is_an_error() {
        for sent in [
            r#"{"get":{"key":"k","if_asked":true}}"#,
            r#"{"add":{"key":"k","value":"v","if_tuesday":true}}"#,
            r#"{"dance":{}}"#,
            r#"{"get":{}}"#,
            r#"{"add":{"key":"k"}}"#,
            r#"{"add":{"key":"k","value":"v","value_b64":"dg=="}}"#,
        ] {
            assert!(read::<Command>(sent).is_err(), "{sent}");
        }
        assert!(read::<Command>(r#"{"get":{"key":"k"}}"#).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_word_that_is_no_text_is_not_sent() {
        use std::os::unix::ffi::OsStringExt;
        let words = vec![OsString::from_vec(b"\xff".to_vec())];
        assert_eq!(words.text(), None);
    }

    #[test]
    fn answers_arrive_as_they_were_sent() {
        let failure: Result<Reply, CommandError> = Err(CommandError::new(Class::NotFound, "Not found: k"));
        let sent = line(&failure);
        assert_eq!(sent, "{\"Err\":{\"error\":\"Not found: k\",\"code\":3}}\n");
        assert_eq!(read::<Result<Reply, CommandError>>(&sent).unwrap(), failure);
        let reply: Result<Reply, CommandError> = Ok(Reply::Exit);
        assert_eq!(read::<Result<Reply, CommandError>>(&line(&reply)).unwrap(), reply);
    }
}
