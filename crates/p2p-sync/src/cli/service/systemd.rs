//! Units of systemd: systemd.service(5), systemd.exec(5).

use std::path::PathBuf;

use super::{Job, Plan, Scope, Step, home};
use crate::cli::Failure;

const UNIT: &str = "p2p-sync.service";
/// The user that a service of the system runs as.
const USER: &str = "p2p-sync";

pub(super) fn plan(job: &Job) -> Result<Plan, Failure> {
    let systemctl = |words: &[&'static str]| match job.scope {
        Scope::User => [&["systemctl", "--user"], words].concat(),
        Scope::System => [&["systemctl"], words].concat(),
    };
    Ok(Plan {
        file: file(job.scope)?,
        content: unit(job).into_bytes(),
        prepare: match job.scope {
            Scope::User => Vec::new(),
            // It fails if the user is there. If it failed otherwise, the start of the service tells.
            Scope::System => vec![Step::tried(&[
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--home-dir",
                "/var/lib/p2p-sync",
                "--shell",
                "/usr/sbin/nologin",
                USER,
            ])],
        },
        start: vec![
            Step::new(&systemctl(&["daemon-reload"])),
            Step::new(&systemctl(&["enable", UNIT])),
            // Also if it runs already: with the new definition.
            Step::new(&systemctl(&["restart", UNIT])),
        ],
        stop: vec![Step::new(&systemctl(&["disable", "--now", UNIT]))],
        forget: vec![Step::new(&systemctl(&["daemon-reload"]))],
        is_running: Step::new(&systemctl(&["is-active", "--quiet", UNIT])),
    })
}

fn file(scope: Scope) -> Result<PathBuf, Failure> {
    Ok(match scope {
        Scope::System => PathBuf::from("/etc/systemd/system").join(UNIT),
        Scope::User => {
            let configuration = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
            let configuration = configuration.filter(|directory| directory.is_absolute());
            let configuration = match configuration {
                Some(directory) => directory,
                None => home()?.join(".config"),
            };
            configuration.join("systemd/user").join(UNIT)
        }
    })
}

/// The unit. `systemd-analyze security` knows what each line takes away from the service.
fn unit(job: &Job) -> String {
    let mut command = vec![job.program.display().to_string(), "start".to_owned()];
    if job.needs_data_dir() {
        command.extend(["--data-dir".to_owned(), "%S/p2p-sync".to_owned()]);
    }
    let command: Vec<String> = command.into_iter().map(|word| quoted(&word, false)).collect();
    let arguments = job.arguments.iter().map(|word| quoted(word, true));
    let command: Vec<String> = command.into_iter().chain(arguments).collect();
    let (of_unit, of_service, target) = match job.scope {
        Scope::User => ("", "", "default.target"),
        Scope::System => (OF_SYSTEM_UNIT, OF_SYSTEM_SERVICE, "multi-user.target"),
    };
    format!(
        "[Unit]
Description=p2p-sync, a key-value store replicated on the LAN
{of_unit}
[Service]
Type=notify
ExecStart={}
ExecReload=kill -HUP $MAINPID
StandardInput=null
Restart=on-failure
RestartSec=5
# A start may have to upgrade or rescue a large store.
TimeoutStartSec=15min
WatchdogSec=60
LimitNOFILE=4096
{of_service}{SANDBOX}
[Install]
WantedBy={target}
",
        command.join(" ")
    )
}

const OF_SYSTEM_UNIT: &str = "Wants=network-online.target
After=network-online.target
";

const OF_SYSTEM_SERVICE: &str = "User=p2p-sync
Group=p2p-sync
StateDirectory=p2p-sync
StateDirectoryMode=0700
CapabilityBoundingSet=
DevicePolicy=closed
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
";

/// What a user's own service manager can take away as well. Netlink tells which interfaces there are, and Unix sockets reach systemd.
const SANDBOX: &str = "LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
UMask=0077
";

/// A word of a command line of systemd. What the user wrote stays as it is: `$` and `%` mean themselves.
fn quoted(word: &str, literally: bool) -> String {
    let mut text = word.replace('\\', "\\\\").replace('"', "\\\"");
    if literally {
        text = text.replace('%', "%%").replace('$', "$$");
    }
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./:=%@,+$".contains(c));
    if is_plain { text } else { format!("\"{text}\"") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn job(scope: Scope, arguments: &[&str]) -> Job {
        Job {
            scope,
            program: PathBuf::from("/usr/local/bin/p2p-sync"),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    fn command(scope: Scope, arguments: &[&str]) -> String {
        let unit = unit(&job(scope, arguments));
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
        line.unwrap().to_owned()
    }

    #[test]
    fn the_command_is_what_was_asked_for() {
        assert_eq!(command(Scope::User, &[]), "/usr/local/bin/p2p-sync start");
        assert_eq!(
            command(Scope::System, &["--name", "Kit's 100 % \"desk\" $HOME"]),
            r#"/usr/local/bin/p2p-sync start --data-dir %S/p2p-sync --name "Kit's 100 %% \"desk\" $$HOME""#
        );
        assert_eq!(
            command(Scope::System, &["--data-dir", "/srv/p2p"]),
            "/usr/local/bin/p2p-sync start --data-dir /srv/p2p"
        );
        assert_eq!(
            command(Scope::User, &["--network", ""]),
            r#"/usr/local/bin/p2p-sync start --network """#
        );
    }

    #[test]
    fn a_service_of_the_system_is_enabled_and_one_of_a_user_with_its_session() {
        let steps = |scope| plan(&job(scope, &[])).unwrap().start;
        assert!(steps(Scope::System).contains(&Step::new(&["systemctl", "enable", UNIT])));
        assert!(steps(Scope::User).contains(&Step::new(&["systemctl", "--user", "enable", UNIT])));
        assert!(unit(&job(Scope::User, &[])).contains("WantedBy=default.target"));
        assert!(!unit(&job(Scope::User, &[])).contains("User="));
    }
}
