//! Finds the node that somebody means: by its name, its peer id, or the end of its peer id.

use std::fmt;

use p2p_sync_core::text::shortened;

/// Fewer characters of the end of a peer id name nobody.
const END_CHARS_MIN: usize = 4;
/// Candidates that an error lists.
const LISTED_MAX: usize = 8;

/// A node that may be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its peer id.
    pub id: &'a str,
    /// The name that it told.
    pub name: Option<&'a str>,
    /// How people see it.
    pub display: &'a str,
}

/// Nobody is called so, or several are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoSuchPeer {
    /// Nobody.
    Unknown {
        /// What was asked for, printable.
        wanted: String,
    },
    /// Several; a peer id, or the end of one, tells them apart.
    Ambiguous {
        /// What was asked for, printable.
        wanted: String,
        /// Those that may be meant, as people see them, each with its peer id; the first of them, if there are many.
        candidates: Vec<String>,
        /// How many others there are.
        others: usize,
    },
}

impl fmt::Display for NoSuchPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { wanted } => write!(f, "Not found: no connected peer is called {wanted}. Try: peers"),
            Self::Ambiguous {
                wanted,
                candidates,
                others,
            } => {
                write!(f, "{wanted} may be any of {}", candidates.join(", "))?;
                if *others > 0 {
                    write!(f, ", and {others} more")?;
                }
                f.write_str(". Give the peer id, or its end")
            }
        }
    }
}

/// The place among the candidates of the one that is meant.
///
/// A peer id, and what people see, are unambiguous and go first. A name is the same in upper and lower case. The end of a peer id
/// has at least four characters, with or without `…` in front.
///
/// # Errors
/// When there is none, or more than one.
pub fn find(wanted: &str, candidates: &[Candidate<'_>]) -> Result<usize, NoSuchPeer> {
    let wanted = wanted.trim();
    let exact = |one: &Candidate<'_>| one.id == wanted || one.display == wanted;
    if let Some(at) = candidates.iter().position(exact) {
        // An id that somebody has as a name is always shown with its end.
        return Ok(at);
    }
    let end = wanted.strip_prefix('…').unwrap_or(wanted);
    let lower = wanted.to_lowercase();
    let may_be = |one: &Candidate<'_>| {
        one.name.is_some_and(|name| name.to_lowercase() == lower)
            || (end.len() >= END_CHARS_MIN && one.id.ends_with(end))
    };
    let found: Vec<usize> = (0..candidates.len())
        .filter(|at| candidates.get(*at).is_some_and(may_be))
        .collect();
    let printable = shortened(wanted.as_bytes());
    match found.as_slice() {
        [] => Err(NoSuchPeer::Unknown { wanted: printable }),
        [one] => Ok(*one),
        several => Err(NoSuchPeer::Ambiguous {
            wanted: printable,
            candidates: several
                .iter()
                .take(LISTED_MAX)
                .filter_map(|at| candidates.get(*at))
                .map(|one| format!("{}: {}", one.display, one.id))
                .collect(),
            others: several.len().saturating_sub(LISTED_MAX),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ALL: [Candidate<'_>; 4] = [
        Candidate {
            id: "12D3KooWaaaa1111",
            name: Some("Kitchen"),
            display: "Kitchen (…aaaa1111)",
        },
        Candidate {
            id: "12D3KooWbbbb1111",
            name: Some("kitchen"),
            display: "kitchen (…bbbb1111)",
        },
        Candidate {
            id: "12D3KooWcccc2222",
            name: Some("attic"),
            display: "attic",
        },
        Candidate {
            id: "12D3KooWdddd3333",
            name: None,
            display: "12D3KooWdddd3333",
        },
    ];

    #[test]
    fn a_node_is_found_by_name_by_id_and_by_the_end_of_it() {
        for (wanted, at) in [
            ("attic", 2),
            ("ATTIC", 2),
            (" attic ", 2),
            ("12D3KooWcccc2222", 2),
            ("2222", 2),
            ("…cccc2222", 2),
            ("kitchen (…bbbb1111)", 1),
            ("bbbb1111", 1),
            ("3333", 3),
        ] {
            assert_eq!(find(wanted, &ALL), Ok(at), "{wanted}");
        }
    }

    #[test]
    fn whoever_may_be_meant_is_listed() {
        let text = |wanted: &str| find(wanted, &ALL).unwrap_err().to_string();
        assert_eq!(
            text("kitchen"),
            "kitchen may be any of Kitchen (…aaaa1111): 12D3KooWaaaa1111, kitchen (…bbbb1111): 12D3KooWbbbb1111. Give \
             the peer id, or its end"
        );
        assert!(text("1111").starts_with("1111 may be any of "));
        for unknown in ["cellar", "222", "", "…", "12D3", "\u{1b}[2J"] {
            let text = text(unknown);
            assert!(text.starts_with("Not found: ") && !text.contains('\u{1b}'), "{text}");
        }
        let many = [ALL[0]; 20];
        assert!(
            find("kitchen", &many)
                .unwrap_err()
                .to_string()
                .contains(", and 12 more.")
        );
    }
}
