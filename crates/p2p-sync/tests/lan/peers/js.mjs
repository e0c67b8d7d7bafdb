// A js-libp2p program with default settings: it dials an address, takes part in gossip, and says what happens, a JSON object a
// line. Each line of input is published. Usage: node js.mjs MULTIADDR
import { createInterface } from 'node:readline'
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { gossipsub } from '@libp2p/gossipsub'
import { multiaddr } from '@multiformats/multiaddr'

const say = (object) => console.log(JSON.stringify(object))
const node = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), pubsub: gossipsub() }
})
say({ peer_id: node.peerId.toString() })
node.addEventListener('connection:close', (event) => say({ closed: event.detail.remotePeer.toString() }))
const pubsub = node.services.pubsub
pubsub.addEventListener('subscription-change', (event) => say({ subscribed: event.detail.peerId.toString() }))
pubsub.addEventListener('message', (event) => {
  const message = event.detail.msg ?? event.detail
  say({ received: new TextDecoder().decode(message.data) })
})
pubsub.subscribe('p2p-sync')
await node.dial(multiaddr(process.argv[2]))
say({ dialled: true })
createInterface({ input: process.stdin }).on('line', async (line) => {
  try {
    const result = await pubsub.publish('p2p-sync', new TextEncoder().encode(line))
    say({ published: result.recipients.length > 0 })
  } catch (error) {
    say({ published: false, error: String(error) })
  }
}).on('close', () => process.exit(0))
