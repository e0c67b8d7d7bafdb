//! What a person is told who looks at a key, or lists keys, of which some are in conflict. Programs find it in the JSON.

use p2p_sync_core::Key;
use p2p_sync_core::text::printable;

use crate::command::{Command, Shows, as_word};
use crate::node::Node;

/// Keys that are named. Of more it is said that there are some.
const NAMED_MAX: usize = 3;

/// What a command is about to show.
pub(super) fn shown_by(command: &Command) -> Option<Shows> {
    command.shows().filter(|_| !command.json())
}

/// The line behind it, if there is something to say. What cannot be read now is told by `conflicts`.
pub(super) async fn notice(node: &Node, shows: Shows) -> Option<String> {
    match shows {
        Shows::Key(key) => {
            let versions = node.versions(&Key::new(&*key).ok()?).await.ok()?;
            of_key(&key, versions.shown().count())
        }
        Shows::Prefix(prefix) => {
            let found = node.conflicts(&prefix, None, NAMED_MAX + 1).await.ok()?;
            let winners = found.keys.iter().filter_map(|versions| versions.winner());
            let keys: Vec<&str> = winners.map(|winner| winner.key.as_str()).collect();
            of_list(&keys, &prefix)
        }
    }
}

fn of_key(key: &str, others: usize) -> Option<String> {
    let writes = match others {
        0 => return None,
        1 => "another write is".to_owned(),
        others => format!("{others} other writes are"),
    };
    let key = printable(as_word(key, false).as_bytes());
    Some(format!(
        "  ({writes} in conflict with this; to see and choose: conflicts {key})\n"
    ))
}

fn of_list(keys: &[&str], prefix: &str) -> Option<String> {
    let named = keys.get(..NAMED_MAX).unwrap_or(keys);
    let mut names: Vec<String> = named.iter().map(|key| printable(key.as_bytes())).collect();
    if keys.len() > NAMED_MAX {
        names.push("more".to_owned());
    }
    let (last, others) = names.split_last()?;
    let names = match others {
        [] => last.clone(),
        others => format!("{} and {last}", others.join(", ")),
    };
    let command = match prefix {
        "" => "conflicts".to_owned(),
        prefix => format!("conflicts {}", printable(as_word(prefix, false).as_bytes())),
    };
    Some(format!("  (in conflict: {names}; to see and choose: {command})\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_conflict_is_told_with_what_to_do() {
        assert_eq!(of_key("hours", 0), None);
        let told = of_key("hours", 1);
        let expected = "  (another write is in conflict with this; to see and choose: conflicts hours)\n";
        assert_eq!(told.as_deref(), Some(expected));
        assert!(of_key("my hours", 1).is_some_and(|told| told.ends_with("conflicts \"my hours\")\n")));
        assert!(of_key("hours", 2).is_some_and(|told| told.contains("2 other writes are in conflict")));
    }

    #[test]
    fn of_many_keys_in_conflict_some_are_named() {
        assert_eq!(of_list(&[], ""), None);
        let told = |keys: &[&str], prefix| of_list(keys, prefix).unwrap_or_default();
        assert_eq!(told(&["a"], ""), "  (in conflict: a; to see and choose: conflicts)\n");
        assert_eq!(
            told(&["a", "b\u{202e}"], "x"),
            "  (in conflict: a and b\\u{202e}; to see and choose: conflicts x)\n"
        );
        assert!(told(&["my a"], "my ").ends_with("conflicts \"my \")\n"));
        let more = told(&["a", "b", "c", "d"], "");
        assert_eq!(
            more,
            "  (in conflict: a, b, c and more; to see and choose: conflicts)\n"
        );
    }
}
