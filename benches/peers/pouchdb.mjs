// A PouchDB that is driven by lines on its standard input, as `hand.py` drives the others. `compare.py` starts it.
//
//   node pouchdb.mjs DIRECTORY ADDRESS
//
// It keeps its data in LevelDB, offers it to others by HTTP (express-pouchdb), and replicates with another one in both directions.

import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { join } from 'node:path'

// The packages are where the comparison has installed them.
const require = createRequire(join(process.env.PEERS_NODE_MODULES, 'any.js'))
const express = require('express')
const PouchDB = require('pouchdb')
const [directory, address] = process.argv.slice(2)

const Kept = PouchDB.defaults({ prefix: join(directory, '/') })
const database = new Kept('store')
const app = express()
// The server keeps its own settings and log; none of them belongs to the work that is compared.
const served = require('express-pouchdb')(Kept, { inMemoryConfig: true, mode: 'minimumForPouchDB' })
app.use('/', served)
await new Promise((ready) => app.listen(5984, address, ready))

const value = (number) => String(number).padStart(100, '0')
const nanoseconds = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6))

async function put(key, text) {
  const old = await database.get(key).catch(() => undefined)
  await database.put({ _id: key, _rev: old?._rev, value: text })
}

async function obey(words) {
  switch (words[0]) {
    case 'create':
    case 'open':
      return `ok http://${address}:5984/store`
    case 'join': {
      const link = database.sync(words[1], { live: true, retry: true, batch_size: 1000, batches_limit: 10 })
      link.on('change', ({ direction, change }) => {
        if (direction !== 'pull') return
        for (const doc of change.docs) if (doc._id.startsWith('live')) say(`event ${doc._id} ${nanoseconds()}`)
      })
      return 'ok'
    }
    case 'put':
      await put(words[1], words[2])
      return `ok ${nanoseconds()}`
    case 'puts': {
      const start = performance.now()
      for (let number = 0; number < Number(words[1]); number++) {
        await database.put({ _id: `put${String(number).padStart(8, '0')}`, value: value(number) })
      }
      return `ok ${(performance.now() - start) / 1000}`
    }
    case 'fill':
      for (let from = 0; from < Number(words[1]); from += 1000) {
        const count = Math.min(1000, Number(words[1]) - from)
        const docs = Array.from({ length: count }, (_, i) => ({
          _id: `key${String(from + i).padStart(8, '0')}`,
          value: value(from + i),
        }))
        await database.bulkDocs(docs)
      }
      return 'ok'
    case 'count':
      return `ok ${(await database.info()).doc_count}`
    case 'get':
      return `ok ${(await database.get(words[1]).catch(() => ({ value: '-' }))).value}`
    case 'stop':
      await database.close()
      return 'ok'
  }
  throw new Error(`not understood: ${words}`)
}

const say = (line) => process.stdout.write(`${line}\n`)
say('ready -')
for await (const line of createInterface({ input: process.stdin })) {
  say(await obey(line.split(' ')))
  if (line === 'stop') process.exit(0)
}
