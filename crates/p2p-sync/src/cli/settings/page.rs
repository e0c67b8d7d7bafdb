//! The page that describes every setting, made from the grammar: `docs/settings.md` is held to it.

use std::path::Path;

use clap::{Arg, CommandFactory};

use super::{arguments, name_of};
use crate::cli::Cli;

const HEAD: &str = "# Settings

What a node can be told, in four places. A flag of `p2p-sync start` wins over its environment variable, that over the configuration file
(`config.toml`; `p2p-sync paths` says where it is looked for, and `--config FILE` or `P2P_SYNC_CONFIG` names another one), and that over the
default. `p2p-sync config show` prints each value and where it comes from. An unknown field in the file is an error that names the nearest
known one; a variable that is set but empty counts as unset.

This page is made from the program's own grammar. After a change: `P2P_SYNC_WRITE_DOCS=1 cargo test -p p2p-sync --lib settings_page`.
";

/// The whole page.
fn page() -> String {
    let grammar = Cli::command();
    let mut page = HEAD.to_owned();
    for argument in arguments(&grammar) {
        page.push('\n');
        page.push_str(&section(argument));
    }
    page
}

fn section(argument: &Arg) -> String {
    let name = argument.get_long().unwrap_or_default();
    let variable = argument.get_env().unwrap_or_default().to_string_lossy();
    let takes = if argument.get_action().takes_values() {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().map(|name| format!(" {name}")).collect()
    } else {
        String::new()
    };
    let mut text = format!("## `{}`\n\n", name_of(argument));
    text.push_str(&format!(
        "| Flag | Variable | Default |\n| --- | --- | --- |\n| `--{name}{takes}` | `{variable}` | {} |\n\n",
        default(argument)
    ));
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let help = help.split(" [default: ").next().unwrap_or_default();
    text.push_str(&format!("{}.\n", help.trim_end_matches('.').replace('\n', " ")));
    let values: Vec<_> = argument
        .get_possible_values()
        .into_iter()
        .filter(|_| argument.get_action().takes_values())
        .collect();
    if !values.is_empty() {
        text.push('\n');
    }
    for value in values {
        let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
        text.push_str(&format!("- `{}`{help}\n", value.get_name()));
    }
    text
}

fn default(argument: &Arg) -> String {
    let values = argument.get_default_values();
    let values: Vec<_> = values
        .iter()
        .map(|value| value.to_string_lossy())
        .filter(|value| !value.is_empty())
        .collect();
    let told = argument.get_help().map(ToString::to_string).unwrap_or_default();
    if !argument.get_action().takes_values() {
        "`false`".to_owned()
    } else if !values.is_empty() {
        format!("`{}`", values.join(","))
    } else {
        let told = told
            .split_once("[default: ")
            .and_then(|(_, rest)| rest.strip_suffix(']'));
        told.map_or_else(|| "none".to_owned(), |told| told.replace('\n', " "))
    }
}

#[test]
fn the_settings_page_is_true() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let page = page();
    if std::env::var_os("P2P_SYNC_WRITE_DOCS").is_some() {
        std::fs::write(&file, &page).expect("the page can be written");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = kept.lines().zip(page.lines()).find(|(kept, made)| kept != made);
    assert!(
        kept == page,
        "docs/settings.md is not what the grammar says, first at {differs:?}"
    );
}
