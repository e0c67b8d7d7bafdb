#!/usr/bin/env bash
# bonjour-service 1.4.4 (npm) and zeroconf 0.154.0 (PyPI): what they make of the same TXT record.
#
# One would guess: RFC 6763, section 6.4, is kept: of a key that comes twice the first counts; a key without `=` is a flag that is set; an
#   empty value is a value; letters of either case are one key; a value is bytes.
# They do: bonjour-service takes the LAST of two, drops a flag, turns `a=` into a key of the name `a=` without a value, and writes
#   bytes that are no text as the replacement character. zeroconf keeps the first, flags, and empty values. Both take `A` and `a`
#   for two keys.
# Why it matters: who adds a second value for old readers (`port=1`, `port=2`) sends the two libraries to different ports; a feature
#   announced by a flag does not exist for bonjour-service; raw bytes (a hash, a key) arrive as others.
# Seen on 2026-11-28: bonjour-service { a: '2' } {} { 'a=': undefined } { A: '1', a: '2' } 613defbfbd;
#   zeroconf {b'a': b'1'} {b'a': None} {b'a': b''} {b'A': b'1', b'a': b'2'}.
# Exit 0: still so. Needs node, npm and python3 with venv. Sends nothing.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund bonjour-service@1.4.4 >/dev/null
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check zeroconf==0.154.0
node - <<'JS'
const assert = require('node:assert')
const Txt = require('bonjour-service/dist/lib/dns-txt.js').default
const txt = new Txt()
const read = (...strings) => txt.decodeAll(strings.map((string) => Buffer.from(string)))
const seen = [read('a=1', 'a=2'), read('a'), read('a='), read('A=1', 'a=2')]
const written = Buffer.from(txt.encode({ a: Buffer.from([0xff]) })[0]).toString('hex')
console.log('bonjour-service', ...seen, written)
assert.deepEqual(seen.map((entry) => ({ ...entry })), [{ a: '2' }, {}, { 'a=': undefined }, { A: '1', a: '2' }])
assert.equal(written, '613defbfbd')
JS
venv/bin/python - <<'PY'
from zeroconf import ServiceInfo
def read(*strings):
    text = b"".join(bytes([len(string)]) + string for string in strings)
    return ServiceInfo("_x._tcp.local.", "a._x._tcp.local.", port=80, properties=text).properties
seen = [read(b"a=1", b"a=2"), read(b"a"), read(b"a="), read(b"A=1", b"a=2")]
print("zeroconf", *seen)
assert seen == [{b"a": b"1"}, {b"a": None}, {b"a": b""}, {b"A": b"1", b"a": b"2"}]
PY
