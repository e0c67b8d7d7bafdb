//! Holds what users of the library see to two rules: it names no library that we only use inside, and each type of ours in it can
//! be imported. Reads the sources: starts from what `lib.rs` exports, and looks at public fields, variants, and the signatures of
//! public functions and of trait implementations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod source;

use source::{Names, bracket, inside, items, of_block, of_fields, of_variants, paths, subject, tokens, without_inner};

/// Dependencies that users may meet: their traits and types are as lasting as ours.
const ALLOWED: &[&str] = &["p2p_sync_core", "futures", "serde", "schemars"];

/// A type, by the first word of its path in this crate and its name.
type Name = (String, String);

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
