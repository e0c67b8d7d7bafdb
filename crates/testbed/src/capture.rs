//! Watching the packets of a host: how much multicast there is, how large, and whether any was too large for its link; and
//! whether any packet at all holds certain texts.

use std::process::Command;
use std::time::Duration;

use crate::host::Host;
use crate::launch::Stdin;
use crate::process::Process;

/// Reads packets of every interface but the loopback, sent and received, without their link headers. A
/// packet over the MTU shows as its fragments. Each line of input is answered by the totals so far.
const PROGRAM: &str = r#"
import json, select, socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
needles = [bytes.fromhex(argument) for argument in sys.argv[1:]]
seen = {"packets": 0, "largest": 0, "fragments": 0, "needles": 0}
print(json.dumps(seen), flush=True)
while True:
    ready, _, _ = select.select([s, sys.stdin], [], [])
    if s in ready:
        p, (interface, kind, *_) = s.recvfrom(65535)
        if interface != "lo" and any(needle in p for needle in needles):
            seen["needles"] += 1
        if interface != "lo" and kind == 0x0800 and len(p) >= 20 and p[9] == 17 and p[16] & 0xf0 == 0xe0:
            fragment = struct.unpack("!H", p[6:8])[0] & 0x3fff != 0
        elif interface != "lo" and kind == 0x86dd and len(p) >= 40 and p[24] == 0xff and p[6] in (17, 44):
            fragment = p[6] == 44
        else:
            continue
        seen["packets"] += 1
        seen["fragments"] += fragment
        seen["largest"] = max(seen["largest"], len(p))
    elif sys.stdin in ready:
        if not sys.stdin.buffer.raw.read(65536):
            break
        print(json.dumps(seen), flush=True)
"#;

/// A process on a host that looks at its packets.
pub struct Sniffer {
    process: Process,
}

/// What a [`Sniffer`] has seen: UDP multicast, IPv4 and IPv6, and the text that it looks for in packets of any kind.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Packets, fragments counted singly.
    pub packets: u64,
    /// Bytes of the largest one, with its IP header.
    pub largest_bytes: u64,
    /// How many were fragments, that is: parts of a packet larger than the MTU.
    pub fragments: u64,
    /// How many packets, of any kind, held what was looked for.
    pub needles: u64,
}

impl Sniffer {
    /// Starts looking; what passes after the return is seen.
    pub fn start(host: &Host) -> Self {
        Self::start_looking_for_any(host, &[])
    }

    /// The same, and looks for `text` in every packet.
    pub fn start_looking_for(host: &Host, text: &str) -> Self {
        Self::start_looking_for_any(host, &[text.as_bytes()])
    }

    /// The same, and looks for any of these strings of bytes in every packet.
    pub fn start_looking_for_any(host: &Host, needles: &[&[u8]]) -> Self {
        let hex = |bytes: &&[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut command: Command = host.command("python3");
        command.args(["-u", "-c", PROGRAM]);
        command.args(needles.iter().map(hex));
        let process = Process::spawn("sniffer", command, Stdin::Pipe);
        process.wait_json(0, "first totals", Duration::from_secs(30), |_| true);
        Self { process }
    }

    /// The totals so far.
    pub fn seen(&self) -> Seen {
        let mark = self.process.stdout().mark();
        self.process.send(b"\n");
        let totals = self
            .process
            .wait_json(mark, "totals", Duration::from_secs(30), |_| true);
        let total = |name: &str| {
            totals
                .get(name)
                .and_then(serde_json::Value::as_u64)
                .unwrap_or_else(|| panic!("no `{name}` in {totals}"))
        };
        Seen {
            packets: total("packets"),
            largest_bytes: total("largest"),
            fragments: total("fragments"),
            needles: total("needles"),
        }
    }
}
