#!/usr/bin/env bash
# bloom-filters 3.0.4 (npm): what BloomFilter.rate() says about the filter.
#
# One would guess: rate() of a filter that holds as many entries as it was made for says about the rate that it was made for, as
#   it does for the package's CountingBloomFilter.
# It does: the filter keeps to its rate, but rate() says a fifth of it for 1 %, and a tenth for 0.1 %.
# Why it matters: a program that watches rate() to know when to make a larger filter makes it far too late.
# Seen on 2026-11-28: "made for 1.00 %: measured 1.02 %, rate() 0.17 %, counting rate() 1.00 %; made for 0.10 %: measured
#   0.13 %, rate() 0.01 %, counting rate() 0.10 %".
# Exit 0: still so. Needs node and npm.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund bloom-filters@3.0.4 >/dev/null
cat > run.cjs <<'JS'
const assert = require('node:assert')
const { BloomFilter, CountingBloomFilter } = require('bloom-filters')

const ENTRIES = 10_000
const percent = (rate) => (100 * rate).toFixed(2) + ' %'
const said = [0.01, 0.001].map((told) => {
  const plain = BloomFilter.create(ENTRIES, told), counting = CountingBloomFilter.create(ENTRIES, told)
  for (let i = 0; i < ENTRIES; i++) { plain.add('in-' + i); counting.add('in-' + i) }
  let wrong = 0
  for (let i = 0; i < 20_000; i++) if (plain.has('out-' + i)) wrong++
  const measured = wrong / 20_000
  assert(measured > told / 2 && measured < told * 2, 'the filter does not keep to its rate now')
  assert(plain.rate() < told / 3, 'rate() is right now')
  assert(counting.rate() > told / 1.5, 'the counting rate() is wrong now')
  return `made for ${percent(told)}: measured ${percent(measured)}, rate() ${percent(plain.rate())}, counting rate() ${percent(counting.rate())}`
})
console.log(said.join('; '))
JS
node run.cjs
