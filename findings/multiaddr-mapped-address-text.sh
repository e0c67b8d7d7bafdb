#!/usr/bin/env bash
# @multiformats/multiaddr 13.0.3 (npm) and multiaddr 0.2.0 (PyPI): the text of an address, read and written again.
#
# One would guess: both write the same text for the same bytes, and take the same texts.
# They do: of /ip6/::ffff:1.2.3.4/tcp/1 both make the same bytes, but JavaScript writes them as ::ffff:102:304. The path of a Unix
#   socket with %2F in it is one path for Python, and for JavaScript an unknown protocol. Python takes /tcp/01, JavaScript does not.
# Why it matters: an address book, an allow-list or a log that compares addresses as text has the same peer twice. Compare bytes.
# Seen on 2026-11-28: "/ip6/::ffff:102:304/tcp/1, refused, refused; /ip6/::ffff:1.2.3.4/tcp/1, /unix/tmp/a/b.sock, /ip4/1.2.3.4/tcp/1".
# Exit 0: still so. Needs node, npm and python3 with venv.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund @multiformats/multiaddr@13.0.3 >/dev/null
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check multiaddr==0.2.0
cat > run.mjs <<'JS'
import { multiaddr } from '@multiformats/multiaddr'
const read = (text) => { try { const at = multiaddr(text); return [at.toString(), Buffer.from(at.bytes).toString('hex')] } catch { return ['refused', ''] } }
console.log(JSON.stringify(['/ip6/::ffff:1.2.3.4/tcp/1', '/unix/tmp/a%2Fb.sock', '/ip4/1.2.3.4/tcp/01'].map(read)))
JS
node run.mjs > javascript
venv/bin/python - <<'PY'
import json
from multiaddr import Multiaddr
theirs = json.load(open("javascript"))
ours = [Multiaddr(text) for text in ("/ip6/::ffff:1.2.3.4/tcp/1", "/unix/tmp/a%2Fb.sock", "/ip4/1.2.3.4/tcp/01")]
print(", ".join(text for text, _ in theirs), ", ".join(map(str, ours)), sep="; ")
assert ours[0].to_bytes().hex() == theirs[0][1], "the bytes differ now"
assert [text for text, _ in theirs] == ["/ip6/::ffff:102:304/tcp/1", "refused", "refused"]
assert list(map(str, ours)) == ["/ip6/::ffff:1.2.3.4/tcp/1", "/unix/tmp/a/b.sock", "/ip4/1.2.3.4/tcp/1"]
PY
