#!/usr/bin/env bash
# parse-prometheus-text-format 1.1.1 (npm): a histogram or summary with labels, as prom-client 15.1.3 writes it.
#
# One would guess: one entry for each set of labels, with its buckets, sum and count: a parser of this format is for that.
# It does: for a histogram whose series differ in a label it returns one entry: the buckets of the last series, without its
#   label, its sum and its count. The other series are gone. A summary fares the same. Gauges and counters keep theirs.
# Why it matters: a test that scrapes its own program and asks for one peer's histogram gets another peer's, and nothing says so.
# Seen on 2026-11-28: [{"name":"lat","help":"h","type":"HISTOGRAM","metrics":[{"buckets":{"1":"0","5":"1","+Inf":"2"}}]}]
# Exit 0: still so. Needs node and npm.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund parse-prometheus-text-format@1.1.1 prom-client@15.1.3 >/dev/null
cat > run.mjs <<'JS'
import assert from 'node:assert'
import client from 'prom-client'
import parser from 'parse-prometheus-text-format'

const registry = new client.Registry()
const histogram = new client.Histogram({ name: 'lat', help: 'h', labelNames: ['peer'], buckets: [1, 5], registers: [registry] })
histogram.observe({ peer: 'a' }, 0.5)
histogram.observe({ peer: 'b' }, 3)
histogram.observe({ peer: 'b' }, 30)
const page = await registry.metrics()
assert(page.includes('lat_count{peer="a"} 1') && page.includes('lat_count{peer="b"} 2'))
const read = (parser.default ?? parser)(page)
console.log(JSON.stringify(read))
assert.deepEqual(read[0].metrics, [{ buckets: { 1: '0', 5: '1', '+Inf': '2' } }])
JS
node run.mjs
