#!/usr/bin/env bash
# cbor2 6.3.0 (PyPI) and cborg 6.1.5 (npm): "canonical" bytes of one value.
#
# One would guess: the strict encoders of both make the same bytes of the same map, so that a hash of them can be compared.
# They do: cbor2 with canonical=True keeps to the older rule, by which the shorter key comes first (-1 before 100); cborg sorts by
#   the bytes (100 before -1), as RFC 8949 has it. And cborg writes the number 1.0 as the integer 1, cbor2 as a half float.
# Why it matters: content ids and signatures over such bytes differ between the two. With keys of text alone and no float that is
#   a whole number they agree, so tests rarely show it.
# Seen on 2026-11-28: "{100: 1, -1: 2}: cbor2 a22002186401, cborg a21864012002; 1.0: cbor2 f93c00, cborg 01".
# Exit 0: still so. Needs node, npm and python3 with venv.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund cborg@6.1.5 >/dev/null
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check cbor2==6.3.0
cat > run.mjs <<'JS'
import { encode } from 'cborg'
const hex = (value) => Buffer.from(encode(value)).toString('hex')
console.log(hex(new Map([[100, 1], [-1, 2]])), hex(1.0), hex(new Map([['b', 1], ['aa', 2]])))
JS
node run.mjs > cborg
venv/bin/python - <<'PY'
import cbor2
ours = [cbor2.dumps(value, canonical=True).hex() for value in ({100: 1, -1: 2}, 1.0, {"b": 1, "aa": 2})]
theirs = open("cborg").read().split()
print(f"{{100: 1, -1: 2}}: cbor2 {ours[0]}, cborg {theirs[0]}; 1.0: cbor2 {ours[1]}, cborg {theirs[1]}")
assert ours[:2] == ["a22002186401", "f93c00"] and theirs[:2] == ["a21864012002", "01"]
assert ours[2] == theirs[2], "they do not agree about text keys now"
PY
