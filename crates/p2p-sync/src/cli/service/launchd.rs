//! Agents and daemons of launchd: launchd.plist(5).

use std::path::PathBuf;

use super::{Job, Plan, Scope, Step, home};
use crate::cli::Failure;

const LABEL: &str = "p2p-sync";

pub(super) fn plan(job: &Job) -> Result<Plan, Failure> {
    let (library, agents, domain) = match job.scope {
        Scope::System => (PathBuf::from("/Library"), "LaunchDaemons", "system".to_owned()),
        Scope::User => (home()?.join("Library"), "LaunchAgents", format!("gui/{}", user_id())),
    };
    let log = library.join("Logs/p2p-sync.log");
    let directory = library.join(agents);
    let file = directory.join(format!("{LABEL}.plist"));
    let (path, service) = (file.display().to_string(), format!("{domain}/{LABEL}"));
    Ok(Plan {
        content: property_list(job, &log.display().to_string()).into_bytes(),
        prepare: Vec::new(),
        start: vec![
            // One that is there already does not take the new definition.
            Step::tried(&["launchctl", "bootout", &service]),
            Step::new(&["launchctl", "bootstrap", &domain, &path]),
        ],
        stop: vec![Step::tried(&["launchctl", "bootout", &service])],
        forget: Vec::new(),
        is_running: Step::new(&["launchctl", "print", &service]),
        file,
    })
}

#[cfg(unix)]
fn user_id() -> u32 {
    rustix::process::getuid().as_raw()
}

#[cfg(not(unix))]
fn user_id() -> u32 {
    0
}

fn property_list(job: &Job, log: &str) -> String {
    let program = job.program.display().to_string();
    let mut words = vec![program, "start".to_owned(), "--log-file".to_owned(), log.to_owned()];
    if job.needs_data_dir() {
        words.extend([
            "--data-dir".to_owned(),
            "/Library/Application Support/p2p-sync".to_owned(),
        ]);
    }
    words.extend(job.arguments.iter().cloned());
    let words: String = words
        .iter()
        .map(|word| format!("    <string>{}</string>\n", escaped(word)))
        .collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
{words}  </array>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>5</integer>
  <key>ProcessType</key>
  <string>Background</string>
  <key>Umask</key>
  <integer>63</integer>
</dict>
</plist>
"#
    )
}

/// As text in XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_property_list_says_what_to_run() {
        let job = Job {
            scope: Scope::System,
            program: PathBuf::from("/usr/local/bin/p2p-sync"),
            arguments: vec!["--name".to_owned(), "Tom & <Kit>".to_owned()],
        };
        let list = property_list(&job, "/Library/Logs/p2p-sync.log");
        assert!(list.contains("<string>Tom &amp; &lt;Kit&gt;</string>"), "{list}");
        assert!(
            list.contains("<string>/Library/Application Support/p2p-sync</string>"),
            "{list}"
        );
        assert_eq!(list.matches("<string>").count(), 10, "{list}");
        let user = plan(&Job {
            scope: Scope::User,
            ..job
        })
        .unwrap();
        assert!(user.file.ends_with("Library/LaunchAgents/p2p-sync.plist"));
    }
}
