#!/usr/bin/env bash
# msgpackr 2.1.3, @msgpack/msgpack 3.1.3 (npm), msgpack 1.2.4, ormsgpack 1.13.1 (PyPI): an optional field that is not set,
# and a Map.
#
# One would guess: both JavaScript libraries write `undefined` as nil, or leave the field out as JSON does; both write a Map as
#   a MessagePack map, which is what it is.
# They do: msgpackr writes `undefined` as extension type 0, a private one: Python's msgpack reads ExtType(code=0, ...), which is
#   true in an `if`, and ormsgpack refuses the whole message. @msgpack/msgpack writes nil there, but writes a Map as an
#   EMPTY map: its entries are lost without an error.
# Why it matters: the record is fine between two programs that use msgpackr; the first one in Python trips over a field that
#   nobody set. And changing the library for the other one loses every Map.
# Seen on 2026-11-28: "{note: undefined}: msgpackr de0001a46e6f7465d40000, @msgpack/msgpack 81a46e6f7465c0;
#   Map {1 => 'a'}: msgpackr 8101a161, @msgpack/msgpack 80".
# Exit 0: still so. Needs node, npm and python3 with venv.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund msgpackr@2.1.3 @msgpack/msgpack@3.1.3 >/dev/null
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check msgpack==1.2.4 ormsgpack==1.13.1
cat > run.mjs <<'JS'
import assert from 'node:assert'
import { pack } from 'msgpackr'
import { encode } from '@msgpack/msgpack'

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const unset = { note: undefined }, map = new Map([[1, 'a']])
const seen = [pack(unset), encode(unset), pack(map), encode(map)].map(hex)
console.error(`{note: undefined}: msgpackr ${seen[0]}, @msgpack/msgpack ${seen[1]}; Map {1 => 'a'}: msgpackr ${seen[2]}, @msgpack/msgpack ${seen[3]}`)
assert(seen[0].endsWith('a46e6f7465d40000') && seen[1] === '81a46e6f7465c0', 'undefined is written otherwise now')
assert(seen[2] === '8101a161' && seen[3] === '80', 'a Map is written otherwise now')
console.log(seen[0])
JS
node run.mjs > message
venv/bin/python - <<'PY'
import msgpack, ormsgpack
message = bytes.fromhex(open("message").read())
read = msgpack.unpackb(message)
print("Python's msgpack reads", read)
assert read == {"note": msgpack.ExtType(0, b"\0")} and read["note"], "it is read otherwise now"
try:
    read = ormsgpack.unpackb(message)
except ValueError as error:
    print("ormsgpack refuses it:", error)
else:
    raise SystemExit(f"ormsgpack reads {read} now")
PY
