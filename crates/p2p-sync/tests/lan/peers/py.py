"""A py-libp2p program: it dials an address, takes part in gossip, and says what happens, a JSON object a line. Each line of
input is published. Usage: py.py SEED MULTIADDR-WITH-PEER-ID; the same seed gives the same identity."""

import json
import sys

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr


def say(**what):
    print(json.dumps(what), flush=True)


async def main():
    host = new_host(key_pair=create_new_key_pair(bytes([int(sys.argv[1])]) * 32))
    gossip = GossipSub([TProtocol("/meshsub/1.1.0")], degree=6, degree_low=4, degree_high=8, heartbeat_interval=1)
    pubsub = Pubsub(host, gossip)
    async with host.run([Multiaddr("/ip4/0.0.0.0/tcp/0")]), background_trio_service(pubsub):
        async with background_trio_service(gossip):
            await pubsub.wait_until_ready()
            await pubsub.subscribe("p2p-sync")
            say(peer_id=str(host.get_id()))
            await host.connect(info_from_p2p_addr(Multiaddr(sys.argv[2])))
            say(dialled=True)
            async for line in lines():
                await pubsub.publish("p2p-sync", line)
                say(published=True)


async def lines():
    while line := await trio.to_thread.run_sync(sys.stdin.buffer.readline):
        yield line.rstrip(b"\n")


trio.run(main)
