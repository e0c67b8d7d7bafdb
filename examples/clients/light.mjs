#!/usr/bin/env node
// A light on p2p-sync: writes a key, reads it, and follows it, also after the connection was cut.
//
//     node light.mjs DATA_DIRECTORY
//
// Shows how a program finds the node on its machine, writes and reads a value, watches a prefix, and goes on behind the last event that
// it has got. Needs nothing but Node 18 and a p2p-sync that runs on that data directory.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { argv, exit } from "node:process";

const KEY = "example/light";
const directory = argv[2];

/** Sends a request to the node that runs on this data directory. */
async function ask(method, path, options = {}) {
  // Read again for each request: a node that was restarted may listen on another port.
  const { api } = JSON.parse(await readFile(join(directory, "node.json"), "utf8"));
  const token = (await readFile(join(directory, "api.token"), "utf8")).trim();
  const headers = { Authorization: `Bearer ${token}`, ...options.headers };
  const answer = await fetch(`http://${api}${path}`, { ...options, method, headers });
  if (!answer.ok) {
    // A refusal says why, in JSON.
    throw new Error(`${answer.status}: ${(await answer.json()).detail}`);
  }
  return answer;
}

// A key is one segment of the path, so "/" becomes "%2F".
const pathOf = (key) => `/v1/kv/${encodeURIComponent(key)}`;

async function put(key, value) {
  await (await ask("PUT", pathOf(key), { body: value })).arrayBuffer();
  console.log(`put: ${key} = ${value}`);
}

async function get(key) {
  return (await ask("GET", pathOf(key))).text();
}

/** What is there and what changes, one event at a time, until the connection ends. */
async function* events(prefix, cursor) {
  const query = new URLSearchParams({ prefix });
  if (cursor !== undefined) query.set("since", cursor);
  // Leaving the loop over these events hangs up.
  const hangUp = new AbortController();
  try {
    const headers = { Accept: "application/x-ndjson" };
    const answer = await ask("GET", `/v1/watch?${query}`, { headers, signal: hangUp.signal });
    let rest = "";
    for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) yield JSON.parse(line);
    }
  } finally {
    hangUp.abort();
  }
}

async function main() {
  await put(KEY, "on");
  const value = await get(KEY);
  console.log(`get: ${KEY} = ${value}`);
  assert.equal(value, "on");

  const seen = new Map(); // what this program knows of the keys that it follows
  let cursor; // how far it has come; a program that may end keeps this in a file
  for (let connections = 1; seen.get(KEY) !== "off"; connections += 1) {
    assert(connections <= 2, "the watch did not go on behind its cursor");
    for await (const event of events(KEY, cursor)) {
      if (event.event === "put") {
        // A value that is not text comes as "value_b64" instead.
        seen.set(event.key, event.value);
        console.log(`watch: ${event.key} = ${event.value}`);
      } else if (event.event === "delete") {
        seen.delete(event.key);
      } else if (event.event === "reset") {
        // The store is another one than before: all that it holds follows.
        seen.clear();
      } else if (event.code !== undefined) {
        throw new Error(event.error);
      }
      // Behind what has been handled, and only there, the next connection goes on.
      cursor = event.cursor ?? cursor;
      if (event.event === "ready") break; // Everything so far has been told. A real program would stay; this one hangs up.
    }
    if (connections === 1) {
      assert.deepEqual([...seen], [[KEY, "on"]]);
      console.log("watch: cut off");
      await put(KEY, "off"); // while nobody listens
    }
  }
  assert.deepEqual([...seen], [[KEY, "off"]]);

  await ask("DELETE", pathOf(KEY));
  console.log("done");
}

if (argv.length !== 3) {
  console.error("usage: light.mjs DATA_DIRECTORY");
  exit(2);
}
try {
  await main();
} catch (error) {
  const why = error.code === "ENOENT" ? `no node runs on ${directory}: ${error.message}` : (error.cause ?? error).message;
  console.error(`light.mjs: ${why}`);
  exit(1);
}
