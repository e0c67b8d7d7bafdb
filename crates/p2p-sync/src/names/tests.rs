//! What nodes are called, by what was heard of whom.

use super::*;

fn id(seed: u16) -> NodeId {
    let mut bytes = [7; 38];
    bytes[36..].copy_from_slice(&seed.to_be_bytes());
    NodeId::from_bytes(&bytes).unwrap()
}

fn named(text: &str) -> Option<Name> {
    Some(Name::new(text).unwrap())
}

/// A node called `desk`.
fn names() -> Names {
    Names::new(id(0), "desk", [])
}

/// A name with the end of the peer id.
fn with_end(name: &str, seed: u16) -> String {
    let id = id(seed).to_string();
    format!("{name} (…{})", &id[id.len() - 8..])
}

#[test]
fn a_node_is_called_by_its_name_and_without_one_by_its_id() {
    let names = names();
    assert_eq!(names.heard(id(1), named("kitchen")), Heard::First);
    assert_eq!(names.heard(id(1), named("kitchen")), Heard::Again);
    names.heard(id(2), None);
    assert_eq!(names.peer(id(0)), "desk");
    assert_eq!(names.peer(id(1)), "kitchen");
    let called = names.called(id(2));
    assert_eq!((called.name, called.display), (None, id(2).to_string()));
    assert_eq!(names.author(id(1)).display, "kitchen");
    let text = id(3).to_string();
    assert_eq!(names.author(id(3)).display, format!("…{}", &text[text.len() - 8..]));
}

#[test]
fn nodes_with_the_same_name_are_told_apart_by_the_end_of_their_ids() {
    let names = names();
    names.heard(id(1), named("kitchen"));
    names.heard(id(2), named("Kitchen"));
    assert_eq!(names.peer(id(1)), with_end("kitchen", 1));
    assert_eq!(names.author(id(2)).display, with_end("Kitchen", 2));
    names.heard(id(3), named("DESK"));
    assert_eq!(
        (names.peer(id(0)), names.peer(id(3))),
        (with_end("desk", 0), with_end("DESK", 3))
    );
    names.left(id(2));
    assert_eq!(names.peer(id(1)), "kitchen", "once it is the only one");
    names.heard(id(3), named("attic"));
    assert_eq!(names.peer(id(0)), "desk");
    names.heard(id(4), named("living  room"));
    names.heard(id(5), named("living\u{a0}room"));
    assert_eq!(
        names.peer(id(4)),
        with_end("living  room", 4),
        "blanks do not tell them apart"
    );
    names.heard(id(6), named("a\u{7}"));
    names.heard(id(7), named("a\\u{7}"));
    assert_eq!(names.peer(id(6)), with_end("a\\u{7}", 6), "they look the same");
}

#[test]
fn a_name_that_pretends_to_be_another_is_shown_with_the_end_of_its_own_id() {
    let names = names();
    names.heard(id(1), named("kitchen"));
    for fake in [
        with_end("kitchen", 1),
        id(1).to_string(),
        format!("…{}", end(&id(1).to_string())),
    ] {
        names.heard(id(2), Name::cut(&fake));
        assert_eq!(names.peer(id(2)), with_end(&fake, 2));
    }
    assert_eq!(names.peer(id(1)), "kitchen");
}

#[test]
fn a_name_is_shown_in_printable_characters_and_is_never_long() {
    let names = names();
    names.heard(id(1), named("a\u{1b}[2J\u{202e}b\nc"));
    assert_eq!(names.peer(id(1)), "a\\u{1b}[2J\\u{202e}b\\nc");
    names.heard(id(1), named(&"\u{1b}".repeat(NAME_BYTES_MAX)));
    assert!(names.peer(id(1)).chars().count() < 100);
}

#[test]
fn a_new_name_takes_the_place_of_the_old_one() {
    let names = names();
    names.heard(id(1), named("kitchen"));
    assert_eq!(names.heard(id(1), named("attic")), Heard::Renamed(named("kitchen")));
    assert_eq!(names.peer(id(1)), "attic");
    assert_eq!(names.heard(id(1), None), Heard::Renamed(named("attic")));
    assert_eq!(names.peer(id(1)), id(1).to_string());
    names.heard(id(2), named("kitchen"));
    assert_eq!(names.peer(id(2)), "kitchen", "nobody else is called so any more");
}

#[test]
fn the_name_of_a_known_node_outlives_its_connection_and_that_of_a_visitor_does_not() {
    let names = names();
    names.heard(id(1), named("kitchen"));
    names.met(id(1), Uptime::default());
    names.heard(id(2), named("visitor"));
    names.left(id(1));
    names.left(id(2));
    assert_eq!(
        (names.author(id(1)).display.as_str(), names.peer(id(2))),
        ("kitchen", id(2).to_string())
    );
    let restarted = Names::new(id(0), "desk", [(id(1), Name::new("kitchen").unwrap())]);
    assert_eq!(restarted.author(id(1)).display, "kitchen");
    assert_eq!(
        restarted.heard(id(1), named("kitchen")),
        Heard::First,
        "since it connected"
    );
    assert_eq!(names.heard(id(1), named("attic")), Heard::Renamed(named("kitchen")));
}

#[test]
fn what_is_written_down_is_a_name_that_changed_or_has_not_been_for_a_while() {
    let names = names();
    let met = |seconds| {
        names.met(id(1), Uptime(Duration::from_secs(seconds)));
        names.take_unsaved()
    };
    let saved = |name: Option<Name>| BTreeMap::from([(id(1), name)]);
    assert_eq!(met(0), BTreeMap::new(), "it has told nothing yet");
    names.heard(id(1), named("kitchen"));
    assert_eq!(names.take_unsaved(), BTreeMap::new(), "it is a visitor");
    assert_eq!(met(1), saved(named("kitchen")));
    assert_eq!(met(2), BTreeMap::new());
    assert_eq!(met(1 + REPEAT.as_secs()), saved(named("kitchen")));
    names.heard(id(1), named("attic"));
    let unsaved = met(2 + REPEAT.as_secs());
    assert_eq!(unsaved, saved(named("attic")));
    names.put_back(unsaved);
    assert_eq!(names.take_unsaved(), saved(named("attic")));
    names.put_back(saved(named("attic")));
    names.heard(id(1), None);
    names.met(id(1), Uptime(Duration::from_secs(3) + REPEAT));
    assert_eq!(names.take_unsaved(), saved(None), "what is newer counts");
}

#[test]
fn of_the_nodes_that_are_away_those_heard_last_are_remembered() {
    let max = u16::try_from(KNOWN_NAMES_MAX).unwrap();
    let names = names();
    for seed in 1..=max + 10 {
        names.heard(id(seed), named(&format!("n{seed}")));
        names.met(id(seed), Uptime::default());
    }
    names.heard(id(5), named("n5"));
    for seed in 1..=max + 10 {
        names.left(id(seed));
    }
    let is_named = |seed: u16| names.called(id(seed)).name.is_some();
    assert!(!is_named(1) && !is_named(4) && !is_named(11));
    assert!(is_named(5) && is_named(12) && is_named(max + 10));
    assert!(names.called(id(0)).name.is_some(), "its own is never forgotten");
}

#[test]
fn a_crowd_takes_no_more_than_its_place() {
    let names = names();
    for seed in 1..10_000 {
        names.heard(id(seed), named("kitchen"));
    }
    assert_eq!(names.table().entries.len(), ENTRIES_MAX);
    assert_eq!(names.peer(id(1)), with_end("kitchen", 1));
    for seed in 1..10_000 {
        names.left(id(seed));
    }
    let table = names.table();
    assert_eq!((table.entries.len(), table.alike.len()), (1, 1));
}
