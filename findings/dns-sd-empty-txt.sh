#!/usr/bin/env bash
# zeroconf 0.154.0 (PyPI) and dns-packet 5.6.1 (npm, below multicast-dns and bonjour-service): a service without properties.
#
# One would guess: a TXT record with nothing to say holds one empty string, a single zero byte: RFC 6763, section 6.1, does not allow a
#   TXT record without any string.
# They do: both write a record with no data at all (length 0). Their own readers take it. dnspython 2.9.2 refuses the whole
#   message, and with it the records that came in the same packet.
# Why it matters: a service registered without properties is found by one program and missing in another; one property,
#   whichever, mends it.
# Seen on 2026-11-28: "zeroconf: no data at all; dnspython: FormError: the list of strings must not be empty", and the same for
#   dns-packet.
# Exit 0: still so. Needs node, npm and python3 with venv. Sends nothing: it only makes the packets.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund dns-packet@5.6.1 bonjour-service@1.4.4 >/dev/null
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check zeroconf==0.154.0 dnspython==2.9.2
node - > javascript <<'JS'
const { encode } = require('dns-packet')
const Txt = require('bonjour-service/dist/lib/dns-txt.js').default
const answer = { type: 'TXT', name: 'a._x._tcp.local', ttl: 4500, data: new Txt().encode({}) }
console.log(encode({ type: 'response', flags: 0x400, answers: [answer] }).toString('hex'))
JS
venv/bin/python - <<'PY'
import dns.exception, dns.message
from zeroconf import DNSOutgoing, ServiceInfo, const

info = ServiceInfo("_x._tcp.local.", "a._x._tcp.local.", port=80, properties={})
out = DNSOutgoing(const._FLAGS_QR_RESPONSE | const._FLAGS_AA)
out.add_answer_at_time(info.dns_text(), 0)
packets = {"zeroconf": out.packets()[0], "dns-packet": bytes.fromhex(open("javascript").read())}
for who, packet in packets.items():
    # The end of the only record: time to live, length of the data, data.
    ttl, length = packet[-6:-2], packet[-2:]
    assert ttl == (4500).to_bytes(4, "big") and length == b"\0\0", f"{who} writes something else now: {packet.hex()}"
    try:
        dns.message.from_wire(packet)
    except dns.exception.FormError as error:
        print(f"{who}: no data at all; dnspython: FormError: {error}")
    else:
        raise SystemExit(f"dnspython reads what {who} wrote now")
PY
