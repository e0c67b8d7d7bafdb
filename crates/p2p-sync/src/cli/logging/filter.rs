//! Which lines are logged: our own from `info` on unless `RUST_LOG` or `-v` says otherwise.

use std::env::VarError;

use tracing_subscriber::EnvFilter;

/// What is logged unless somebody says otherwise.
const DEFAULT: &str = "error,p2p_sync=info";
/// What is logged with `-v`: our own decisions, without the many lines of the libraries.
const VERBOSE: &str = "error,p2p_sync=debug";
/// The parts of the program that write lines, by the beginnings of their names.
const PARTS: [&str; 9] = [
    "p2p_sync",
    "libp2p",
    "multistream_select",
    "yamux",
    "quinn",
    "rustls",
    "hickory",
    "if_watch",
    "netlink",
];

/// The same for commands that only speak up when something is wrong.
pub(super) fn chosen_quiet(verbose: bool, variable: Result<String, VarError>) -> (EnvFilter, Option<String>) {
    match variable {
        Err(VarError::NotPresent) if !verbose => (EnvFilter::new("warn"), None),
        variable => chosen(verbose, variable),
    }
}

/// The filter, and what is wrong with `RUST_LOG` if something is. It is ignored then.
pub(super) fn chosen(verbose: bool, variable: Result<String, VarError>) -> (EnvFilter, Option<String>) {
    let default = if verbose { VERBOSE } else { DEFAULT };
    let text = match variable {
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(_)) => return (EnvFilter::new(default), Some("it is not UTF-8".to_owned())),
        Ok(text) => text,
    };
    if text.trim().is_empty() {
        return (EnvFilter::new(default), None);
    }
    if let Some(mistake) = text.split(',').map(str::trim).find_map(mistake) {
        return (EnvFilter::new(default), Some(mistake));
    }
    let text = if verbose {
        format!("{text},p2p_sync=debug")
    } else {
        text
    };
    match EnvFilter::builder().parse(&text) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(error.to_string())),
    }
}

/// What is wrong with one directive that the library takes without a word, and then shows nothing.
fn mistake(directive: &str) -> Option<String> {
    let (name, level) = match directive.split_once('=') {
        Some((name, level)) => (name, Some(level)),
        None => (directive, None),
    };
    if name.is_empty() || name.contains(['[', '{']) || (level.is_none() && is_level(name)) {
        return None;
    }
    if name.starts_with("p2p-sync") || name.starts_with("p2psync") {
        return Some(format!("there is no module {name}: write p2p_sync"));
    }
    let known = PARTS.iter().any(|part| name.starts_with(part));
    // With a level it may be meant for another program, and does no harm.
    (level.is_none() && !known)
        .then(|| format!("{name} is neither a level (error, warn, info, debug, trace) nor a module"))
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|level| word.eq_ignore_ascii_case(level))
        || matches!(word, "0" | "1" | "2" | "3" | "4" | "5")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(verbose: bool, text: &str) -> (String, Option<String>) {
        let (filter, mistake) = chosen(verbose, Ok(text.to_owned()));
        (filter.to_string(), mistake)
    }

    #[test]
    fn what_is_understood_is_used() {
        for text in [
            "info",
            "DEBUG",
            "p2p_sync=debug",
            "libp2p_swarm",
            "off",
            "warn,libp2p_gossipsub=trace",
            "hyper=warn,info",
        ] {
            let (_, mistake) = of(false, text);
            assert_eq!(mistake, None, "{text}");
        }
        assert!(of(true, "").0.contains("p2p_sync=debug"));
        assert!(of(true, "warn").0.contains("p2p_sync=debug"), "both are heard");
        assert!(of(false, " ").0.contains("p2p_sync=info"));
        assert_eq!(chosen(false, Err(VarError::NotPresent)).1, None);
    }

    #[test]
    fn what_would_show_nothing_is_told_and_ignored() {
        for text in [
            "banana",
            "inf",
            "p2p_sync=loud",
            "p2p-sync=debug",
            "p2psync",
            "info,verbose",
            "a=b=c",
        ] {
            let (filter, mistake) = of(false, text);
            assert!(mistake.is_some(), "{text}");
            assert!(filter.contains("p2p_sync=info"), "{text}: {filter}");
        }
    }
}
