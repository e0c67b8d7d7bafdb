//! Tasks of the Task Scheduler of Windows. A Windows service would need a program that talks to the service control manager; a task runs
//! any program, also at the start of the machine and again after a failure.

use std::path::PathBuf;

use super::launchd::escaped;
use super::{Job, Plan, Scope, Step, home};
use crate::cli::Failure;

const TASK: &str = "p2p-sync";

pub(super) fn plan(job: &Job) -> Result<Plan, Failure> {
    let directory = match job.scope {
        Scope::User => home()?.join("AppData/Local/p2p-sync"),
        Scope::System => std::env::var_os("ProgramData")
            .map_or_else(|| PathBuf::from("C:/ProgramData"), PathBuf::from)
            .join("p2p-sync"),
    };
    let file = directory.join("task.xml");
    let path = file.display().to_string();
    Ok(Plan {
        content: utf16(&task(job, &directory)),
        prepare: Vec::new(),
        start: vec![
            Step::new(&["schtasks", "/Create", "/F", "/TN", TASK, "/XML", &path]),
            Step::tried(&["schtasks", "/End", "/TN", TASK]),
            Step::new(&["schtasks", "/Run", "/TN", TASK]),
        ],
        stop: vec![
            Step::tried(&["schtasks", "/End", "/TN", TASK]),
            Step::tried(&["schtasks", "/Delete", "/F", "/TN", TASK]),
        ],
        forget: Vec::new(),
        // The state is told in the language of the system, but for the word behind this one.
        is_running: Step::new(&[
            "powershell",
            "-NoProfile",
            "-Command",
            "if ((Get-ScheduledTask -TaskName p2p-sync).State -ne 4) { exit 1 }",
        ]),
        file,
    })
}

/// The Task Scheduler reads UTF-16 with a byte order mark, and refuses a file that says it is UTF-8.
fn utf16(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

fn task(job: &Job, directory: &std::path::Path) -> String {
    let mut words = vec!["start".to_owned(), "--prompt".to_owned(), "never".to_owned()];
    words.extend([
        "--log-file".to_owned(),
        directory.join("p2p-sync.log").display().to_string(),
    ]);
    if job.needs_data_dir() {
        words.extend(["--data-dir".to_owned(), directory.join("data").display().to_string()]);
    }
    words.extend(job.arguments.iter().cloned());
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let (trigger, principal) = match job.scope {
        Scope::User => (
            "<LogonTrigger><Enabled>true</Enabled></LogonTrigger>",
            "<LogonType>InteractiveToken</LogonType><RunLevel>LeastPrivilege</RunLevel>",
        ),
        // Local Service.
        Scope::System => (
            "<BootTrigger><Enabled>true</Enabled></BootTrigger>",
            "<UserId>S-1-5-19</UserId><RunLevel>LeastPrivilege</RunLevel>",
        ),
    };
    format!(
        r#"<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>p2p-sync, a key-value store replicated on the LAN</Description>
  </RegistrationInfo>
  <Triggers>
    {trigger}
  </Triggers>
  <Principals>
    <Principal id="Author">{principal}</Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>999</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{}</Command>
      <Arguments>{}</Arguments>
    </Exec>
  </Actions>
</Task>
"#,
        escaped(&job.program.display().to_string()),
        escaped(&words.join(" "))
    )
}

/// A word as the C library of Windows takes command lines apart: a backslash counts only in front of a quotation mark.
fn quoted(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.to_owned();
    }
    let mut text = String::from('"');
    let mut backslashes = 0;
    for character in word.chars() {
        match character {
            '\\' => backslashes += 1,
            '"' => {
                text.push_str(&"\\".repeat(backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        text.push(character);
    }
    text.push_str(&"\\".repeat(backslashes));
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_what_they_are() {
        for (word, command) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a \"b\"", r#""a \"b\"""#),
            (r"C:\Program Files\", r#""C:\Program Files\\""#),
            (r#"\" x"#, r#""\\\" x""#),
            (r"C:\plain\", r"C:\plain\"),
        ] {
            assert_eq!(quoted(word), command, "{word}");
        }
    }

    #[test]
    fn a_task_is_utf_16_with_a_mark() {
        let bytes = utf16("<a>é</a>");
        assert_eq!(bytes.get(..4), Some(&[0xFF, 0xFE, b'<', 0][..]));
    }
}
