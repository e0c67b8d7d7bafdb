#!/usr/bin/env bash
# yjs 13.6.33, @automerge/automerge 3.5.0, loro-crdt 1.17.1 (npm): a key is deleted on one side and set on the other.
#
# One would guess: a delete is a write like any other. Whichever rule decides between two concurrent sets (the id of the
#   writer, a logical clock) decides between a set and a delete, and so the delete wins in about half of the cases.
# They do: yjs and Automerge never let the delete win, whoever has the higher id. Loro asks its logical clock, which counts
#   all changes of a writer: the side that has been busier, also with other keys, wins; only with equal clocks the id does.
# Why it matters: the same history ends with the key there in two of the libraries and gone in the third, and in Loro a
#   delete by a busy node beats a set that was made later by everybody's watch.
# Seen on 2026-11-28: "yjs: set, set; automerge: set, set; loro: set, delete; loro after 5 writes to other keys by the
#   deleter: delete, delete".
# Exit 0: still so. Needs node and npm.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund yjs@13.6.33 @automerge/automerge@3.5.0 loro-crdt@1.17.1 >/dev/null
cat > run.mjs <<'JS'
import assert from 'node:assert'
import * as Y from 'yjs'
import * as A from '@automerge/automerge'
import { LoroDoc } from 'loro-crdt'

const told = (value) => (value === undefined ? 'delete' : 'set')

function yjs(deleter, setter) {
  const a = new Y.Doc(), b = new Y.Doc()
  a.clientID = deleter; b.clientID = setter
  a.getMap('m').set('k', 'old')
  Y.applyUpdate(b, Y.encodeStateAsUpdate(a))
  a.getMap('m').delete('k'); b.getMap('m').set('k', 'new')
  const [fromA, fromB] = [Y.encodeStateAsUpdate(a), Y.encodeStateAsUpdate(b)]
  Y.applyUpdate(a, fromB); Y.applyUpdate(b, fromA)
  assert.equal(a.getMap('m').get('k'), b.getMap('m').get('k'))
  return told(a.getMap('m').get('k'))
}

function automerge(deleter, setter) {
  const a = A.from({ k: 'old' }, { actor: deleter }), b = A.clone(a, { actor: setter })
  const deleted = A.change(a, (doc) => { delete doc.k })
  const set = A.change(b, (doc) => { doc.k = 'new' })
  return told(A.merge(deleted, set).k)
}

function loro(deleter, setter, others) {
  const a = new LoroDoc(), b = new LoroDoc()
  a.setPeerId(deleter); b.setPeerId(setter)
  a.getMap('m').set('k', 'old'); a.commit()
  b.import(a.export({ mode: 'update' }))
  for (let i = 0; i < others; i++) a.getMap('m').set('other' + i, i)
  a.getMap('m').delete('k'); b.getMap('m').set('k', 'new')
  a.commit(); b.commit()
  const [fromA, fromB] = [a.export({ mode: 'update' }), b.export({ mode: 'update' })]
  a.import(fromB); b.import(fromA)
  assert.equal(a.getMap('m').get('k'), b.getMap('m').get('k'))
  return told(a.getMap('m').get('k'))
}

const seen = {
  'yjs': [yjs(1, 2), yjs(2, 1)],
  'automerge': [automerge('aa', 'bb'), automerge('bb', 'aa')],
  'loro': [loro('1', '2', 0), loro('2', '1', 0)],
  'loro after 5 writes to other keys by the deleter': [loro('1', '2', 5), loro('2', '1', 5)],
}
console.log(Object.entries(seen).map(([who, won]) => `${who}: ${won.join(', ')}`).join('; '))
assert.deepEqual(Object.values(seen), [['set', 'set'], ['set', 'set'], ['set', 'delete'], ['delete', 'delete']])
JS
node run.mjs
