#!/usr/bin/env python3
"""A light on p2p-sync: writes a key, reads it, and follows it, also after the connection was cut.

    python3 light.py DATA_DIRECTORY

Shows how a program finds the node on its machine, writes and reads a value, watches a prefix, and goes on behind the last event that it
has got. Needs nothing but Python 3.8 and a node that runs on that data directory.
"""

import json
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

KEY = "example/light"
# A watch says something at least every 15 seconds. After this long without a word, the connection is dead.
SILENCE = 60


def ask(directory, method, path, body=None, accept="*/*"):
    """Sends a request to the node that runs on this data directory."""
    # Read again for each request: a node that was restarted may listen on another port.
    address = json.loads((directory / "node.json").read_text())["api"]
    token = (directory / "api.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Accept": accept}
    request = urllib.request.Request(f"http://{address}{path}", body, headers, method=method)
    # Never by a proxy: the node is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=SILENCE)


def path_of(key):
    # A key is one segment of the path, so "/" becomes "%2F".
    return "/v1/kv/" + urllib.parse.quote(key, safe="")


def put(directory, key, value):
    with ask(directory, "PUT", path_of(key), value.encode()):
        print(f"put: {key} = {value}")


def get(directory, key):
    with ask(directory, "GET", path_of(key)) as answer:
        return answer.read().decode()


def events(directory, prefix, cursor):
    """What is there and what changes, one event at a time, until the connection ends."""
    query = {"prefix": prefix}
    if cursor is not None:
        query["since"] = cursor
    path = "/v1/watch?" + urllib.parse.urlencode(query)
    with ask(directory, "GET", path, accept="application/x-ndjson") as lines:
        for line in lines:
            yield json.loads(line)


def main(directory):
    put(directory, KEY, "on")
    value = get(directory, KEY)
    print(f"get: {KEY} = {value}")
    assert value == "on", value

    seen = {}  # what this program knows of the keys that it follows
    cursor = None  # how far it has come; a program that may end keeps this in a file
    connections = 0
    while seen.get(KEY) != "off":
        connections += 1
        assert connections <= 2, "the watch did not go on behind its cursor"
        for event in events(directory, KEY, cursor):
            kind = event["event"]
            if kind == "put":
                # A value that is not text comes as "value_b64" instead.
                seen[event["key"]] = event["value"]
                print(f"watch: {event['key']} = {event['value']}")
            elif kind == "delete":
                seen.pop(event["key"], None)
            elif kind == "reset":
                # The store is another one than before: all that it holds follows.
                seen.clear()
            elif "code" in event:
                raise RuntimeError(event["error"])
            # Behind what has been handled, and only there, the next connection goes on.
            cursor = event.get("cursor", cursor)
            if kind == "ready":
                break  # Everything so far has been told. A real program would stay; this one hangs up.
        if connections == 1:
            assert seen == {KEY: "on"}, seen
            print("watch: cut off")
            put(directory, KEY, "off")  # while nobody listens
    assert seen == {KEY: "off"}, seen

    with ask(directory, "DELETE", path_of(KEY)):
        print("done")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: light.py DATA_DIRECTORY")
    try:
        main(pathlib.Path(sys.argv[1]))
    except urllib.error.HTTPError as error:
        # A refusal says why, in JSON.
        sys.exit(f"light.py: {error.code}: {json.load(error)['detail']}")
    except FileNotFoundError as error:
        sys.exit(f"light.py: no node runs on {sys.argv[1]}: {error}")
    except (OSError, AssertionError, RuntimeError) as error:
        sys.exit(f"light.py: {error}")
