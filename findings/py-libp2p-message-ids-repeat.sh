#!/usr/bin/env bash
# libp2p 0.8.1 (PyPI, py-libp2p): gossip messages of a program that restarts with the same key get the ids of earlier ones.
#
# One would guess: a sequence number starts at random or at the nanosecond, as in the Go and Rust implementations, so that the
#   id (author and sequence number) of a message is never used twice.
# It does: a program counts from the whole second of its start. One that published more messages than seconds have passed since
#   then repeats ids after a restart, for other messages.
# Why it matters: peers that remember ids take the new messages for repetitions and drop them, without an error on either side.
#   A message id of the application's own that covers the content helps.
# Seen on 2026-11-28: "20 messages, then a restart: 18 of the next 20 have an id that was used for another message".
# Exit 0: still so. Needs python3 with venv.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check libp2p==0.8.1
cat > "$dir/program.py" <<'PY'
import sys, trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub, get_peer_and_seqno_msg_id
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

MESSAGES = 20

async def main():
    host = new_host(key_pair=create_new_key_pair(b"\7" * 32))
    gossip = GossipSub([TProtocol("/meshsub/1.1.0")], degree=6, degree_low=4, degree_high=8)
    pubsub = Pubsub(host, gossip)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]), background_trio_service(pubsub):
        async with background_trio_service(gossip):
            await pubsub.wait_until_ready()
            # What a program publishes comes back on its own subscription.
            subscription = await pubsub.subscribe("topic")
            for number in range(MESSAGES):
                await pubsub.publish("topic", f"{sys.argv[1]} {number}".encode())
                message = await subscription.get()
                print(get_peer_and_seqno_msg_id(message).hex(), flush=True)
                await trio.sleep(0.02)

trio.run(main)
PY
"$dir/venv/bin/python" "$dir/program.py" first 2>/dev/null > "$dir/first"
sleep 1
"$dir/venv/bin/python" "$dir/program.py" second 2>/dev/null > "$dir/second"
both=$(sort "$dir/first" "$dir/second" | uniq -d | wc -l)
printf '%s messages, then a restart: %s of the next %s have an id that was used for another message\n' \
  "$(wc -l < "$dir/first")" "$both" "$(wc -l < "$dir/second")"
[ "$(wc -l < "$dir/first")" -eq 20 ] && [ "$(wc -l < "$dir/second")" -eq 20 ] && [ "$both" -gt 0 ]
