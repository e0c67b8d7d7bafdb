//! Which other programs on this machine have the port of multicast DNS, as far as the system tells it to this user.

use super::sockets::PORT;

/// Programs that are named.
const HOLDERS_MAX: usize = 8;

/// Their names, each once: of a program that another user runs, mostly only that user.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn holders() -> Vec<String> {
    let sockets: Vec<Holder> = ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| held(&table))
        .collect();
    let (ours, programs) = programs();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut names: Vec<String> = sockets
        .iter()
        .filter(|holder| !ours.contains(&holder.inode))
        .map(|holder| match programs.get(&holder.inode) {
            Some(program) => program.clone(),
            None => format!("a program of user {}", user(&users, holder.user)),
        })
        .collect();
    names.sort();
    names.dedup();
    names.truncate(HOLDERS_MAX);
    names
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn holders() -> Vec<String> {
    let _ = (PORT, HOLDERS_MAX);
    Vec::new()
}

/// A socket at the port.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    user: u32,
    inode: u64,
}

/// Those in a table as the system shows it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn held(table: &str) -> Vec<Holder> {
    let suffix = format!(":{PORT:04X}");
    let holder = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let user = words.nth(5)?.parse().ok()?;
        let inode = words.nth(1)?.parse().ok()?;
        local.ends_with(&suffix).then_some(Holder { user, inode })
    };
    table.lines().skip(1).filter_map(holder).collect()
}

/// The sockets of this process, and the programs that have others, by the numbers of the sockets.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn programs() -> (std::collections::HashSet<u64>, std::collections::HashMap<u64, String>) {
    let own = std::process::id();
    let (mut ours, mut others) = Default::default();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for process in processes {
        // Most of them belong to other users, and tell nothing.
        let files = std::fs::read_dir(format!("/proc/{process}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        let sockets = files.filter_map(|file| {
            let target = std::fs::read_link(file.path()).ok()?;
            target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse::<u64>()
                .ok()
        });
        if process == own {
            std::iter::Extend::<u64>::extend(&mut ours, sockets);
        } else if let Ok(name) = std::fs::read_to_string(format!("/proc/{process}/comm")) {
            let named = sockets.map(|socket| (socket, format!("{} (process {process})", name.trim())));
            std::iter::Extend::<(u64, String)>::extend(&mut others, named);
        }
    }
    (ours, others)
}

/// What a user is called, by the table of users.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn user(users: &str, number: u32) -> String {
    let named = users.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        (words.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| number.to_string())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_in_the_table_of_the_system_with_its_user() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1234: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 23456 2 0000000000000000 0
 1235: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   102        0 23457 2 0000000000000000 0
 1236: broken
";
        let holder = Holder {
            user: 101,
            inode: 23_456,
        };
        assert_eq!(held(table), [holder]);
        let users = "root:x:0:0:root:/root:/bin/sh\navahi:x:101:110::/run/avahi-daemon:/usr/sbin/nologin\n";
        assert_eq!(user(users, 101), "avahi");
        assert_eq!(user(users, 7), "7");
    }
}
