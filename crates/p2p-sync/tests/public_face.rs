//! Holds what users of the library see to two rules: it names no library that we only use inside, and each type of ours in it can
//! be imported. Reads the sources: starts from what `lib.rs` exports, and looks at public fields, variants, and the signatures of
//! public functions and of trait implementations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Dependencies that users may meet: their traits and types are as lasting as ours.
const ALLOWED: &[&str] = &["p2p_sync_core", "futures", "serde", "schemars"];

/// A type, by the first word of its path in this crate and its name.
type Name = (String, String);

/// What is exported, or imported by a file: local name to full path.
type Names = BTreeMap<String, Vec<String>>;

/// What one file shows of a type, as the words of its types.
struct Shown {
    name: Name,
    file: PathBuf,
    words: Vec<String>,
    imports: Names,
}

#[derive(Default)]
struct Sources {
    defined: BTreeSet<Name>,
    shown: Vec<Shown>,
}

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The libraries that the face must not name.
fn hidden_libraries() -> Vec<String> {
    let text = fs::read_to_string(manifest("Cargo.toml")).unwrap();
    let sections = text.split("\n[").filter(|section| {
        let head = section.lines().next().unwrap();
        head.ends_with("dependencies]") && !head.starts_with("dev-")
    });
    let names = sections.flat_map(|section| section.lines().skip(1));
    let names = names.filter_map(|line| line.split(['.', ' ', '=']).next());
    let names = names.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_"));
    names.filter(|name| !ALLOWED.contains(&name.as_str())).collect()
}

/// A source as words and signs, without comments and texts. `::` is one of them; lifetimes go with their name.
fn tokens(text: &str) -> Vec<String> {
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

fn end_of_text(text: &str) -> usize {
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
fn end_of_quoted(text: &str) -> usize {
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
fn behind(tokens: &[String], open: usize) -> usize {
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
fn without_inner(mut tokens: &[String]) -> &[String] {
    while let [hash, bang, ..] = tokens
        && hash == "#"
        && bang == "!"
    {
        tokens = &tokens[behind(tokens, 2)..];
    }
    tokens
}

/// Pieces between commas that are in no bracket.
fn pieces(tokens: &[String]) -> Vec<&[String]> {
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
struct Marked<'a> {
    is_out: bool,
    is_public: bool,
    rest: &'a [String],
}

fn marked(tokens: &[String]) -> Marked<'_> {
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
fn items(tokens: &[String]) -> Vec<Marked<'_>> {
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
fn paths(tokens: &[String], before: &[String], found: &mut Names) {
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
fn of_fields(body: &[String], is_variant: bool) -> Vec<String> {
    let seen = pieces(body).into_iter().map(marked);
    let seen = seen.filter(|field| (is_variant || field.is_public) && !field.is_out);
    seen.flat_map(|field| field.rest.to_vec()).collect()
}

fn inside(tokens: &[String], open: usize) -> &[String] {
    &tokens[open + 1..behind(tokens, open) - 1]
}

fn bracket(tokens: &[String], which: &[&str]) -> Option<usize> {
    tokens.iter().position(|token| which.contains(&token.as_str()))
}

fn of_variants(body: &[String]) -> Vec<String> {
    let variants = pieces(body).into_iter().map(marked).filter(|variant| !variant.is_out);
    let fields = variants.filter_map(|variant| {
        let open = bracket(variant.rest, &["(", "{"])?;
        Some(of_fields(inside(variant.rest, open), true))
    });
    fields.flatten().collect()
}

/// The words of the signatures in a block; those of a trait's implementation are all public.
fn of_block(body: &[String], is_of_trait: bool) -> Vec<String> {
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
fn subject(header: &[String]) -> (Option<String>, bool) {
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

impl Sources {
    /// Reads one file of a module, named by the first word of its path in the crate.
    fn read(&mut self, module: &str, file: &Path, text: &str) {
        let tokens = tokens(text);
        let mut imports = Names::new();
        let items = items(without_inner(&tokens));
        for item in &items {
            if item.rest.first().is_some_and(|word| word == "use") {
                paths(&item.rest[1..], &[], &mut imports);
            }
        }
        for item in items.iter().filter(|item| !item.is_out) {
            let [kind, name, ..] = item.rest else { continue };
            let Some(open) = bracket(item.rest, &["{", "("]) else {
                continue;
            };
            match kind.as_str() {
                "impl" => {
                    let open = bracket(item.rest, &["{"]).unwrap_or(open);
                    let header = &item.rest[1..open];
                    let (Some(name), is_of_trait) = subject(header) else {
                        continue;
                    };
                    let words = [header, &of_block(inside(item.rest, open), is_of_trait)].concat();
                    self.show(module, file, &imports, name, words);
                    continue;
                }
                "struct" => {
                    let words = of_fields(inside(item.rest, open), false);
                    self.show(module, file, &imports, name.clone(), words);
                }
                "enum" => {
                    let words = of_variants(inside(item.rest, open));
                    self.show(module, file, &imports, name.clone(), words);
                }
                "trait" => {}
                _ => continue,
            }
            self.defined.insert((module.to_owned(), name.clone()));
        }
        let units = items.iter().filter_map(|item| match item.rest {
            [kind, name, end] if kind == "struct" && end == ";" => Some(name.clone()),
            _ => None,
        });
        self.defined.extend(units.map(|name| (module.to_owned(), name)));
    }

    fn show(&mut self, module: &str, file: &Path, imports: &Names, name: String, words: Vec<String>) {
        let name = resolved(module, &name, imports);
        self.shown.push(Shown {
            name,
            file: file.to_owned(),
            words,
            imports: imports.clone(),
        });
    }

    /// What breaks the rules, given what is exported.
    fn broken(&self, exported: &BTreeSet<Name>, hidden: &[String]) -> Vec<String> {
        let mut broken = BTreeSet::new();
        for shown in self.shown.iter().filter(|shown| exported.contains(&shown.name)) {
            let at = format!("{} ({})", shown.name.1, shown.file.display());
            for word in &shown.words {
                let root = shown.imports.get(word).map_or(word, |path| &path[0]);
                if hidden.contains(root)
                    && (word != root || shown.imports.contains_key(word) || is_path(&shown.words, root))
                {
                    broken.insert(format!("{at} shows users `{word}` of the library `{root}`"));
                }
                let name = resolved(&shown.name.0, word, &shown.imports);
                if self.defined.contains(&name) && !exported.contains(&name) {
                    broken.insert(format!("{at} shows users `{word}`, which lib.rs does not export"));
                }
                if root == "p2p_sync_core" && word != root && !exported.contains(&core(word)) {
                    broken.insert(format!(
                        "{at} shows users `{word}` of the core, which lib.rs does not export"
                    ));
                }
            }
        }
        broken.into_iter().collect()
    }
}

/// Whether a path begins with this word, which may also be the name of an argument.
fn is_path(words: &[String], root: &str) -> bool {
    words.windows(2).any(|pair| pair[0] == root && pair[1] == "::")
}

fn core(name: &str) -> Name {
    ("p2p_sync_core".to_owned(), name.to_owned())
}

/// Which type of this crate a word means in a file of `module`.
fn resolved(module: &str, word: &str, imports: &Names) -> Name {
    let path = imports.get(word).map(Vec::as_slice).unwrap_or_default();
    match path {
        [root, top, .., name] if root == "crate" => (top.clone(), name.clone()),
        [root, .., name] if root == "p2p_sync_core" => core(name),
        [.., name] => (module.to_owned(), name.clone()),
        [] => (module.to_owned(), word.to_owned()),
    }
}

/// The types that `lib.rs` exports.
fn exported(text: &str) -> BTreeSet<Name> {
    let mut all = BTreeSet::new();
    collect_exports(without_inner(&tokens(text)), &mut all);
    all
}

fn collect_exports(tokens: &[String], all: &mut BTreeSet<Name>) {
    for item in items(tokens).into_iter().filter(|item| item.is_public && !item.is_out) {
        match item.rest {
            [word, tree @ ..] if word == "use" => {
                let mut names = Names::new();
                paths(tree, &[], &mut names);
                all.extend(names.into_values().map(|path| {
                    let top = path.iter().find(|word| *word != "crate").unwrap();
                    (top.clone(), path.last().unwrap().clone())
                }));
            }
            [word, _, open, ..] if word == "mod" && open == "{" => collect_exports(inside(item.rest, 2), all),
            _ => {}
        }
    }
}

fn read_all(directory: &Path, module: Option<&str>, sources: &mut Sources) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let module = module.unwrap_or(stem);
        if path.is_dir() {
            read_all(&path, Some(module), sources);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !["lib", "main", "tests"].contains(&stem)
        {
            sources.read(module, &path, &fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn users_meet_no_library_of_ours_and_can_name_what_they_meet() {
    let mut sources = Sources::default();
    read_all(&manifest("src"), None, &mut sources);
    let exported = exported(&fs::read_to_string(manifest("src/lib.rs")).unwrap());
    for name in ["Node", "NodeBuilder", "Event", "NodeError", "StoreError", "Status"] {
        let is_shown = |shown: &Shown| shown.name.1 == name && exported.contains(&shown.name);
        assert!(sources.shown.iter().any(is_shown), "{name} is looked at");
    }
    let broken = sources.broken(&exported, &hidden_libraries());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_rules_catch_what_they_forbid() {
    let exported = exported("pub use node::{Node, Event}; pub mod error { pub use p2p_sync_core::Key; }");
    let hidden = hidden_libraries();
    assert!(hidden.contains(&"libp2p".to_owned()) && hidden.contains(&"rusqlite".to_owned()));
    let broken = |text: &str| {
        let mut sources = Sources::default();
        sources.read("node", Path::new("node.rs"), &format!("struct Inner; {text}"));
        sources.broken(&exported, &hidden).len()
    };
    for bad in [
        "impl Node { pub fn peer(&self) -> libp2p::PeerId {} }",
        "use libp2p::PeerId; impl Node { pub async fn ask(&self, peer: &[PeerId]) {} }",
        "use libp2p::PeerId as Id; impl Node { pub fn ask(&self, peer: impl Into<Id>) {} }",
        "use rusqlite::Error; pub enum Event { Failed { cause: Error } }",
        "pub struct Node { pub store: Arc<rusqlite::Connection> }",
        "impl From<rusqlite::Error> for Node {}",
        "impl Node { pub fn inner(&self) -> Inner {} }",
        "use p2p_sync_core::Record; impl Node { pub fn record(&self) -> Record {} }",
    ] {
        assert_eq!(broken(bad), 1, "{bad}");
    }
    for good in [
        "impl Node { fn peer(&self) -> libp2p::PeerId {} pub(crate) fn inner(&self) -> Inner {} }",
        "pub struct Node { store: Arc<rusqlite::Connection>, pub(crate) inner: Inner }",
        "pub struct Other { pub store: rusqlite::Connection }",
        "use p2p_sync_core::Key; impl Node { pub fn key(&self) -> Result<Event, std::io::Error> {} }",
        "impl Node { #[doc(hidden)] pub fn inner(&self) -> Inner {} }",
    ] {
        assert_eq!(broken(good), 0, "{good}");
    }
}
