#!/usr/bin/env python3
"""A server that is driven by lines on standard input, so that one script can ask the same of all. `compare.py` starts it.

    hand.py p2p-sync|redis PROGRAM DIRECTORY ADDRESS

Starts the program on its directory, asks it over one connection that stays open, and answers each line with one line. `event KEY TIME` may come
in between, with the wall clock in nanoseconds at which the program told of a change that another node has made.
"""

import atexit
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

PATIENCE = 60


def value(number):
    return f"{number:0100}"


def patiently(what, attempt):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except (OSError, ValueError):
            if time.monotonic() > end:
                sys.exit(f"hand.py: {what} does not come up")
            time.sleep(0.005)


class P2pSync:
    """The local API of a node, over HTTP."""

    def __init__(self, program, directory, _address):
        command = [program, "start", "--data-dir", directory, "--api", "127.0.0.1:0"]
        # Its standard input is at its end, so it runs as a service.
        self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.directory = pathlib.Path(directory)
        self.connection = patiently("p2p-sync", self.connect)
        watch = self.connect()
        watch.sendall(self.request("GET", "/v1/watch?prefix=live&since=now", b""))
        threading.Thread(target=self.listen, args=(watch.makefile("rb"),), daemon=True).start()
        self.reader = self.connection.makefile("rb")

    def connect(self):
        running = json.loads((self.directory / "node.json").read_text())
        self.address, self.token = running["api"], (self.directory / "api.token").read_text().strip()
        host, port = self.address.rsplit(":", 1)
        return connected((host, int(port)))

    def listen(self, lines):
        for line in lines:
            if line.startswith(b'{"event":"put"') and b'"origin":"peer"' in line:
                now = time.time_ns()
                say(f"event {json.loads(line)['key']} {now}")

    def request(self, method, path, body):
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\nAuthorization: Bearer {self.token}\r\n"
        return (head + f"Accept: application/x-ndjson, */*\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body

    def ask(self, method, path, body=b""):
        self.connection.sendall(self.request(method, path, body))
        status = int(self.reader.readline().split()[1])
        length = 0
        while (line := self.reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        answer = self.reader.read(length)
        if status >= 400 and status != 404:
            sys.exit(f"hand.py: {status}: {answer.decode()}")
        return status, answer

    def join(self, _address):
        """Nothing to do: nodes on one network find each other."""

    def put(self, key, text):
        self.ask("PUT", f"/v1/kv/{key}", text.encode())

    def put_many(self, pairs):
        operations = [{"put": {"key": key, "value": text}} for key, text in pairs]
        self.ask("POST", "/v1/batch", json.dumps({"operations": operations}).encode())

    def get(self, key):
        status, answer = self.ask("GET", f"/v1/kv/{key}")
        return "-" if status == 404 else answer.decode()

    def count(self):
        return json.loads(self.ask("GET", "/v1/status")[1])["keys"]


class Redis:
    """Redis with every write synced to its log before it is acknowledged."""

    def __init__(self, program, directory, address):
        settings = ["--dir", directory, "--appendonly", "yes", "--appendfsync", "always", "--bind", address, "127.0.0.1"]
        settings += ["--protected-mode", "no", "--daemonize", "no", "--save", "3600 1", "--notify-keyspace-events", "K$"]
        # The default waits five seconds in case more replicas come.
        settings += ["--repl-diskless-sync-delay", "0"]
        self.server = subprocess.Popen([program, *settings], stdout=subprocess.DEVNULL)
        self.connection = patiently("redis", lambda: connected(("127.0.0.1", 6379)))
        self.reader = self.connection.makefile("rb")
        patiently("redis", self.loaded)
        watch = connected(("127.0.0.1", 6379))
        watch.sendall(command("PSUBSCRIBE", "__keyspace@0__:live*"))
        threading.Thread(target=self.listen, args=(watch.makefile("rb"),), daemon=True).start()

    def loaded(self):
        if self.ask("PING") != b"PONG":
            raise ValueError

    def listen(self, lines):
        for line in lines:
            if line.startswith(b"__keyspace@0__:live") and not line.rstrip().endswith(b"*"):
                now = time.time_ns()
                say(f"event {line.decode().strip().split(':', 1)[1]} {now}")

    def ask(self, *words):
        self.connection.sendall(command(*words))
        return self.answer()

    def answer(self):
        line = self.reader.readline().rstrip()
        if line.startswith(b"$"):
            length = int(line[1:])
            return None if length < 0 else self.reader.read(length + 2)[:-2]
        if line.startswith(b"-LOADING"):
            return line
        if line.startswith(b"-"):
            sys.exit(f"hand.py: {line.decode()}")
        return line[1:]

    def join(self, address):
        self.ask("REPLICAOF", address, "6379")

    def put(self, key, text):
        self.ask("SET", key, text)

    def put_many(self, pairs):
        pairs = list(pairs)
        self.connection.sendall(b"".join(command("SET", key, text) for key, text in pairs))
        for _ in pairs:
            self.answer()

    def get(self, key):
        answer = self.ask("GET", key)
        return "-" if answer is None else answer.decode()

    def count(self):
        return int(self.ask("DBSIZE"))


def command(*words):
    parts = [word.encode() for word in words]
    return f"*{len(parts)}\r\n".encode() + b"".join(f"${len(part)}\r\n".encode() + part + b"\r\n" for part in parts)


def connected(address):
    connection = socket.create_connection(address, PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def obey(hand, address, words):
    if words[0] in ("create", "open"):
        return f"ok {address}"
    if words[0] == "join":
        hand.join(words[1])
        return "ok"
    if words[0] == "put":
        hand.put(words[1], words[2])
        return f"ok {time.time_ns()}"
    if words[0] == "puts":
        start = time.monotonic()
        for number in range(int(words[1])):
            hand.put(f"put{number:08}", value(number))
        return f"ok {time.monotonic() - start}"
    if words[0] == "fill":
        count = int(words[1])
        for start in range(0, count, 1000):
            hand.put_many((f"key{n:08}", value(n)) for n in range(start, min(start + 1000, count)))
        return "ok"
    if words[0] == "count":
        return f"ok {hand.count()}"
    if words[0] == "get":
        return f"ok {hand.get(words[1])}"
    if words[0] == "pid":
        return f"ok {hand.server.pid}"
    if words[0] == "stop":
        hand.server.terminate()
        hand.server.wait(PATIENCE)
        return "ok"
    sys.exit(f"hand.py: not understood: {words}")


def main(kind, program, directory, address):
    hand = {"p2p-sync": P2pSync, "redis": Redis}[kind](program, directory, address)
    atexit.register(hand.server.kill)
    say(f"ready {hand.server.pid}")
    for line in sys.stdin:
        say(obey(hand, address, line.split()))
        if line.strip() == "stop":
            break


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: hand.py p2p-sync|redis PROGRAM DIRECTORY ADDRESS")
    main(*sys.argv[1:])
