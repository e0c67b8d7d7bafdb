//! The configuration file, what `config show` says of it, and what else tells about the program itself.

use std::fs;
use std::process::{Command, Stdio};

use super::{PATIENCE, command, directory, end, launch, shell, start};

#[test]
fn flags_win_over_variables_those_over_the_file_and_that_over_defaults() {
    let (parent, directory) = directory();
    let file = parent.path().join("my.toml");
    fs::write(
        &file,
        "name = \"from file\"\nnetwork = \"from file\"\nmessage_limit = 200\nno_lan = true\n",
    )
    .unwrap();
    let words = [
        "--config",
        file.to_str().unwrap(),
        "config",
        "show",
        "--json",
        "--name",
        "from flag",
    ];
    let mut show = command(&directory, &words);
    show.env("P2P_SYNC_NETWORK", "from variable")
        .env("P2P_SYNC_NAME", "from variable");
    let shown = end(show, b"");
    assert_eq!(shown.code, 0, "{shown:?}");
    for line in [
        r#"{"name":"name","value":"from flag","from":"flag"}"#,
        r#"{"name":"network","value":"from variable","from":"environment"}"#,
        r#"{"name":"message_limit","value":"200","from":"file"}"#,
        r#"{"name":"no_lan","value":"true","from":"file"}"#,
        r#"{"name":"port","value":"4002","from":"default"}"#,
    ] {
        assert!(shown.text().contains(line), "{line}: {}", shown.text());
    }
}

#[test]
fn a_node_and_the_shell_obey_the_file_where_it_is_looked_for() {
    let (parent, _) = directory();
    let (home, data) = (parent.path(), parent.path().join("elsewhere"));
    let paths = shell(home, &["paths", "--json"]).text();
    let config = paths
        .split("\"config\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    assert!(config.starts_with(home.to_str().unwrap()), "{paths}");
    fs::create_dir_all(std::path::Path::new(&config).parent().unwrap()).unwrap();
    fs::write(
        &config,
        format!("data_dir = {data:?}\nport = 0\nno_lan = true\nname = \"from file\"\n"),
    )
    .unwrap();
    let plain = |words: &[&str]| {
        let mut command = command(home, words);
        command.env_remove("P2P_SYNC_DATA_DIR");
        command
    };
    let mut node = plain(&["start"]);
    let mut node = node.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(end(plain(&["wait", "--timeout", "20s"]), b"").code, 0);
    let status = end(plain(&["status", "--json"]), b"").text();
    assert!(status.contains("\"name\":\"from file\""), "{status}");
    assert!(data.join("store.db").exists());
    let pid = node.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(super::exit_of(&mut node).success());

    for (text, told) in [
        ("prot = 1\n", "did you mean `port`?"),
        ("port = 70000\n", "the value comes from the field port in "),
        ("x", "not TOML"),
        ("data_dir = \"shared/data\"", "not an absolute path"),
        ("data_dir = \"~/data\"", "not an absolute path"),
    ] {
        fs::write(&config, text).unwrap();
        let refused = end(plain(&["start"]), b"");
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
        let shown = end(plain(&["config", "show"]), b"");
        assert_eq!(shown.code, 2, "{shown:?}");
        assert!(shown.stderr.contains(told), "{shown:?}");
        assert!(shown.stderr.contains("config.toml"), "{shown:?}");
    }
}

#[test]
fn manual_pages_are_written() {
    let (parent, directory) = directory();
    let pages = parent.path().join("man");
    assert_eq!(shell(&directory, &["man", pages.to_str().unwrap()]).code, 0);
    let page = fs::read_to_string(pages.join("p2p-sync-watch.1")).unwrap();
    assert!(page.contains("P2P_SYNC_KEY"), "{page}");
    assert!(pages.join("p2p-sync.1").exists());
    assert_eq!(shell(&directory, &["man", "/proc/nowhere"]).code, 1);
    for taken in [pages.join("p2p-sync.1").to_str().unwrap(), "/dev/full"] {
        let refused = shell(&directory, &["man", taken]);
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("not a directory"), "{refused:?}");
    }
}

/// As bash asks: with the words, and which of them the cursor is on.
fn completed(directory: &std::path::Path, words: &[&str]) -> Vec<String> {
    let all: Vec<&str> = ["--", "p2p-sync"].into_iter().chain(words.iter().copied()).collect();
    let mut ask = command(directory, &all);
    ask.env("P2P_SYNC_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_IFS", "\n");
    let asked = end(ask, b"");
    assert_eq!(asked.code, 0, "{asked:?}");
    asked.text().lines().map(str::to_owned).collect()
}

#[test]
fn keys_are_completed_from_the_running_node_unless_a_shell_would_act_on_them() {
    let (_parent, directory) = directory();
    assert!(completed(&directory, &["ge"]).contains(&"get".to_owned()));
    assert!(completed(&directory, &["get", "li"]).is_empty(), "no node is running");
    let node = start(&directory);
    for key in ["light/1", "light/2", "li$(reboot)", "li ve", "dark"] {
        assert_eq!(shell(&directory, &["add", key, "v"]).code, 0);
    }
    for words in [
        &["get", "li"][..],
        &["delete", "dark", "li"],
        &["add", "li"],
        &["list", "li"],
        &["watch", "li"],
    ] {
        assert_eq!(completed(&directory, words), ["light/1", "light/2"], "{words:?}");
    }
    assert!(completed(&directory, &["list", "--li"]).contains(&"--limit".to_owned()));
    node.process().signal("TERM");
    node.wait_exit(PATIENCE);
    drop(launch(&directory));
}
