//! As much of the grammar of Rust as it takes to find public signatures: sources as words and signs, cut at brackets and commas.

use std::collections::BTreeMap;

/// What is exported, or imported by a file: local name to full path.
pub(crate) type Names = BTreeMap<String, Vec<String>>;

/// A source as words and signs, without comments and texts. `::` is one of them; lifetimes go with their name.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").unwrap() + 2
        } else if first == '"' {
            end_of_text(rest)
        } else if first == '\'' {
            end_of_quoted(rest)
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") || rest.starts_with("->") || rest.starts_with("=>") {
            2
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(length);
        if !first.is_whitespace()
            && first != '"'
            && first != '\''
            && !token.starts_with("//")
            && !token.starts_with("r#\"")
        {
            found.push(token.to_owned());
        }
        rest = behind;
    }
    found
}

pub(crate) fn end_of_text(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The end of a character, or of the quote of a lifetime.
pub(crate) fn end_of_quoted(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    let second = characters.next().map(|(_, c)| c);
    let third = characters.next();
    match (second, third) {
        (Some('\\'), Some((at, _))) => text[at + 1..].find('\'').unwrap() + at + 2,
        (_, Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// The place behind the bracket that closes the one at `open`.
pub(crate) fn behind(tokens: &[String], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Without what is said of the whole file, which stands before its first item.
pub(crate) fn without_inner(mut tokens: &[String]) -> &[String] {
    while let [hash, bang, ..] = tokens
        && hash == "#"
        && bang == "!"
    {
        tokens = &tokens[behind(tokens, 2)..];
    }
    tokens
}

/// Pieces between commas that are in no bracket.
pub(crate) fn pieces(tokens: &[String]) -> Vec<&[String]> {
    let (mut found, mut start, mut at, mut angles) = (Vec::new(), 0, 0, 0_i32);
    while at < tokens.len() {
        match tokens[at].as_str() {
            "(" | "[" | "{" => {
                at = behind(tokens, at);
                continue;
            }
            "<" => angles += 1,
            ">" => angles -= 1,
            "," if angles == 0 => {
                found.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    found.push(&tokens[start..]);
    found
}

/// An item of a file, a block or a list of fields: its attributes, whether it is public, and the rest.
pub(crate) struct Marked<'a> {
    pub(crate) is_out: bool,
    pub(crate) is_public: bool,
    pub(crate) rest: &'a [String],
}

pub(crate) fn marked(tokens: &[String]) -> Marked<'_> {
    let (mut at, mut is_out) = (0, false);
    while tokens.get(at).is_some_and(|token| token == "#") {
        let end = behind(tokens, at + 1);
        let attribute = tokens[at..end].concat();
        is_out |= attribute == "#[cfg(test)]" || attribute == "#[doc(hidden)]";
        at = end;
    }
    let has_word = tokens.get(at).is_some_and(|token| token == "pub");
    let is_restricted = has_word && tokens.get(at + 1).is_some_and(|token| token == "(");
    at = match (has_word, is_restricted) {
        (true, true) => behind(tokens, at + 1),
        (true, false) => at + 1,
        _ => at,
    };
    Marked {
        is_out,
        is_public: has_word && !is_restricted,
        rest: &tokens[at..],
    }
}

/// The items of a file or block: each ends with a semicolon or a block.
pub(crate) fn items(tokens: &[String]) -> Vec<Marked<'_>> {
    let (mut found, mut start, mut at, mut is_use) = (Vec::new(), 0, 0, false);
    while at < tokens.len() {
        let token = tokens[at].as_str();
        is_use |= token == "use";
        let ends = match token {
            "{" => !is_use,
            ";" => true,
            _ => false,
        };
        at = if ["(", "[", "{"].contains(&token) {
            behind(tokens, at)
        } else {
            at + 1
        };
        if ends {
            found.push(marked(&tokens[start..at]));
            (start, is_use) = (at, false);
        }
    }
    found
}

/// The names that a `use` brings, from the words behind that one.
pub(crate) fn paths(tokens: &[String], before: &[String], found: &mut Names) {
    let mut path = before.to_vec();
    let mut local = None;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "::" => {}
            ";" => break,
            "{" => {
                let group = &tokens[at + 1..behind(tokens, at) - 1];
                pieces(group).into_iter().for_each(|tree| paths(tree, &path, found));
                return;
            }
            "as" => {
                local = tokens.get(at + 1).cloned();
                break;
            }
            "self" if at == 0 && !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
    }
    if let Some(last) = path.last().cloned() {
        found.insert(local.unwrap_or(last), path);
    }
}

/// The words of the types of fields: behind their names, in a struct or variant.
pub(crate) fn of_fields(body: &[String], is_variant: bool) -> Vec<String> {
    let seen = pieces(body).into_iter().map(marked);
    let seen = seen.filter(|field| (is_variant || field.is_public) && !field.is_out);
    seen.flat_map(|field| field.rest.to_vec()).collect()
}

pub(crate) fn inside(tokens: &[String], open: usize) -> &[String] {
    &tokens[open + 1..behind(tokens, open) - 1]
}

pub(crate) fn bracket(tokens: &[String], which: &[&str]) -> Option<usize> {
    tokens.iter().position(|token| which.contains(&token.as_str()))
}

pub(crate) fn of_variants(body: &[String]) -> Vec<String> {
    let variants = pieces(body).into_iter().map(marked).filter(|variant| !variant.is_out);
    let fields = variants.filter_map(|variant| {
        let open = bracket(variant.rest, &["(", "{"])?;
        Some(of_fields(inside(variant.rest, open), true))
    });
    fields.flatten().collect()
}

/// The words of the signatures in a block; those of a trait's implementation are all public.
pub(crate) fn of_block(body: &[String], is_of_trait: bool) -> Vec<String> {
    let seen = items(body).into_iter().filter(|item| !item.is_out);
    let seen =
        seen.filter(|item| item.is_public || (is_of_trait && item.rest.first().is_some_and(|word| word == "type")));
    let signatures = seen.map(|item| {
        let end = bracket(item.rest, &["{", ";"]).unwrap_or(item.rest.len());
        item.rest[..end].to_vec()
    });
    signatures.flatten().collect()
}

/// Which type an implementation is for, and whether it is one of a trait.
pub(crate) fn subject(header: &[String]) -> (Option<String>, bool) {
    let mut at = 0;
    if header.first().is_some_and(|token| token == "<") {
        let mut angles = 0_i32;
        for (place, token) in header.iter().enumerate() {
            angles += i32::from(token == "<") - i32::from(token == ">");
            if angles == 0 {
                at = place + 1;
                break;
            }
        }
    }
    let of = header.iter().position(|token| token == "for");
    let start = of.map_or(at, |of| of + 1);
    let word = header[start..]
        .iter()
        .find(|token| token.starts_with(char::is_alphabetic));
    (word.cloned(), of.is_some())
}
