#!/usr/bin/env python3
"""p2p-sync beside others that do a part of its work: the same work, on one machine, in one run.

    sudo -E benches/peers/compare.py [--rounds N] [--keys N] [NAME ...]

Needs Linux, root, Python 3.9, Node.js with npm, a Rust toolchain, `redis-server`, `ip`, and a release build of p2p-sync. Installs the
packages of the others, pinned, under `target/peers`. Each system runs as two processes on two hosts, which are network namespaces with a
cable between them, and is driven by `hand.py`, `pouchdb.mjs` or `iroh-docs/`. Prints a table in Markdown: medians of all rounds, and of
the live changes of all rounds the quantiles.
"""

import argparse
import contextlib
import os
import pathlib
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "target"
PACKAGES = TARGET / "peers"
NPM = ["pouchdb@9.0.0", "express-pouchdb@4.2.0", "express@4.21.2"]
PATIENCE = 600
DURABLE_PUTS = 2_000
LIVE = 200
DIFFERENCES = 10
HOSTS = ["10.99.0.1", "10.99.0.2"]


def run(*words, **settings):
    return subprocess.run([str(word) for word in words], check=True, **settings)


class Cable:
    """Two hosts and the cable between them."""

    def __enter__(self):
        self.spaces = [f"peers-{os.getpid()}-{side}" for side in "ab"]
        for space in self.spaces:
            run("ip", "netns", "add", space)
        ends = ["eth0", "type", "veth", "peer", "name", "eth0", "netns", self.spaces[1]]
        run("ip", "-n", self.spaces[0], "link", "add", *ends)
        for space, address in zip(self.spaces, HOSTS):
            run("ip", "-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "link", "set", "eth0", "up")
            run("ip", "-n", space, "route", "add", "default", "dev", "eth0")
        return self

    def __exit__(self, *_):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)

    def bytes(self):
        """What has gone over the cable, both ways, in bytes of Ethernet frames."""
        counters = [f"/sys/class/net/eth0/statistics/{way}_bytes" for way in ("rx", "tx")]
        words = ["ip", "netns", "exec", self.spaces[0], "cat", *counters]
        return sum(map(int, run(*words, capture_output=True).stdout.split()))


class Hand:
    """One process of a system, driven by lines."""

    def __init__(self, command, space):
        words = ["ip", "netns", "exec", space, *map(str, command)]
        environment = dict(os.environ, PEERS_NODE_MODULES=str(PACKAGES / "node_modules"))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(words, text=True, env=environment, **pipes)
        self.answers, self.events = queue.Queue(1000), {}
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        server = self.answer()[0]
        self.pid = self.process.pid if server == "-" else int(server)

    def read(self):
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "event":
                with self.changed:
                    self.events.setdefault(words[1], int(words[2]))
                    self.changed.notify_all()
            else:
                self.answers.put(words)
        self.answers.put(None)

    def answer(self):
        words = self.answers.get(timeout=PATIENCE)
        if words is None:
            raise RuntimeError(f"ended: {self.process.args}")
        return words[1:]

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        return answer[0] if answer else None

    def event(self, key):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.events, PATIENCE):
                raise RuntimeError(f"no event for {key}")
            return self.events[key]

    def peak_megabytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000

    def stop(self):
        self.ask("stop")
        self.process.wait(PATIENCE)

    def end(self):
        """Whatever state it is in."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if pathlib.Path(f"/proc/{self.pid}").exists() and self.process.poll() is None:
                os.kill(self.pid, 9)
            self.process.kill()
        self.process.wait()


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("it does not become equal")
        time.sleep(0.01)


def value(key):
    return f"changed-{key}".rjust(100, "x")


def measure(command, keys):
    """One round of one system."""
    figures, hands = {}, []
    with Cable() as cable, tempfile.TemporaryDirectory(prefix="peers-") as directory:

        def start(side):
            data = pathlib.Path(directory, "ab"[side])
            data.mkdir(exist_ok=True)
            hands.append(Hand([*command, data, HOSTS[side]], cable.spaces[side]))
            return hands[-1]

        try:
            a = start(0)
            address = a.ask("create")
            figures["puts"] = DURABLE_PUTS / float(a.ask("puts", DURABLE_PUTS))
            a.ask("fill", keys)
            begun = time.monotonic()
            b = start(1)
            b.ask("join", address)
            wait_until(lambda: int(b.ask("count")) >= keys + DURABLE_PUTS)
            figures["copy"] = (keys + DURABLE_PUTS) / (time.monotonic() - begun)
            figures["memory"] = max(a.peak_megabytes(), b.peak_megabytes())
            time.sleep(3)
            delays = []
            for number in range(LIVE):
                key = f"live{number}"
                told = int(a.ask("put", key, value(key)))
                delays.append((b.event(key) - told) / 1e6)
                time.sleep(0.02)
            figures["live"] = delays
            b.stop()
            changed = [f"key{number * (keys // DIFFERENCES):08}" for number in range(DIFFERENCES)]
            for key in changed:
                a.ask("put", key, value(key))
            time.sleep(3)
            before, begun = cable.bytes(), time.monotonic()
            b = start(1)
            b.ask("join", address)
            wait_until(lambda: all(b.ask("get", key) == value(key) for key in changed))
            figures["return_seconds"] = time.monotonic() - begun
            figures["return_bytes"] = (cable.bytes() - before) / 1000
        finally:
            for hand in hands:
                hand.end()
    return figures


def prepare(names):
    """Installs what the chosen systems need, and says how to start each."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    commands = {}
    hand = [sys.executable, HERE / "hand.py"]
    if "p2p-sync" in names:
        commands["p2p-sync"] = [*hand, "p2p-sync", TARGET / "release" / "p2p-sync"]
    if "redis" in names:
        commands["redis"] = [*hand, "redis", shutil.which("redis-server") or sys.exit("no redis-server")]
    if "pouchdb" in names:
        run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", PACKAGES, *NPM, stdout=sys.stderr)
        commands["pouchdb"] = ["node", HERE / "pouchdb.mjs"]
    if "iroh-docs" in names:
        environment = dict(os.environ, CARGO_TARGET_DIR=str(PACKAGES))
        run("cargo", "build", "--release", "--locked", cwd=HERE / "iroh-docs", env=environment)
        commands["iroh-docs"] = [PACKAGES / "release" / "iroh-docs-hand"]
    return commands


ROWS = [
    ("acknowledged puts, one after the other, per second", lambda f: f"{f['puts']:,.0f}"),
    ("copy to an empty node, records per second", lambda f: f"{f['copy']:,.0f}"),
    ("most memory of either side then (RSS)", lambda f: f"{f['memory']:.0f} MB"),
    ("acknowledged on A until told on B, p50 / p99", lambda f: f"{f['p50']:.2f} / {f['p99']:.2f} ms"),
    ("B was off for 10 changes: seconds from its start until it has them", lambda f: f"{f['return_seconds']:.2f}"),
    ("the same: bytes on the cable", lambda f: f"{f['return_bytes']:,.1f} kB"),
]


def main():
    names = ["p2p-sync", "redis", "pouchdb", "iroh-docs"]
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("names", nargs="*", default=names, metavar="NAME")
    wanted = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("compare.py: network namespaces need root")
    if unknown := set(wanted.names) - set(names):
        sys.exit(f"compare.py: unknown: {', '.join(unknown)}; there are {', '.join(names)}")
    commands = prepare(wanted.names)
    rounds = {name: [] for name in commands}
    for number in range(wanted.rounds):
        for name, command in commands.items():
            figures = measure(command, wanted.keys)
            rounds[name].append(figures)
            shown = {what: figure for what, figure in figures.items() if what != "live"}
            print(f"round {number + 1}, {name}: {shown}", file=sys.stderr)
    results = {}
    for name, figures in rounds.items():
        one = {what: statistics.median(f[what] for f in figures) for what in figures[0] if what != "live"}
        delays = sorted(delay for f in figures for delay in f["live"])
        one["p50"], one["p99"] = statistics.median(delays), delays[len(delays) * 99 // 100]
        results[name] = one
    print(f"| {wanted.keys:,} keys | " + " | ".join(results) + " |")
    print("| --- |" + " ---: |" * len(results))
    for title, show in ROWS:
        print(f"| {title} | " + " | ".join(show(figures) for figures in results.values()) + " |")


if __name__ == "__main__":
    main()
