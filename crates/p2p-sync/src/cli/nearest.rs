//! The word that somebody may have meant who wrote another one.

/// Words with more characters are not compared.
const CHARACTERS_MAX: usize = 32;

/// The word that differs least from what was written, if it differs little: by one character in three at most, or by one in words
/// that are shorter. Two characters in the wrong order are one difference.
pub(super) fn nearest<'a>(written: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let differs_by = |word: &&str| difference(written, word);
    let nearest = words.into_iter().min_by_key(differs_by)?;
    let allowed = (written.chars().count() / 3).max(1);
    (differs_by(&nearest) <= allowed).then_some(nearest)
}

/// How many characters must be added, removed, replaced or swapped with their neighbour.
fn difference(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > CHARACTERS_MAX {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, mine) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, theirs) in b.iter().enumerate() {
            let cost = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut least = (cost(&row, j) + usize::from(mine != theirs))
                .min(cost(&row, j + 1) + 1)
                .min(cost(&next, j) + 1);
            let is_swapped = i > 0 && j > 0 && a.get(i - 1) == Some(theirs) && b.get(j - 1) == Some(mine);
            if is_swapped {
                least = least.min(cost(&before, j - 1) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["add", "get", "delete", "list", "status", "conflicts", "watch"];
        for (written, meant) in [
            ("gte", Some("get")),
            ("gett", Some("get")),
            ("lst", Some("list")),
            ("delte", Some("delete")),
            ("confilcts", Some("conflicts")),
            ("stauts", Some("status")),
            ("x", None),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, words), meant, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(100), words), None);
    }
}
