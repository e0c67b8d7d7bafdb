#!/usr/bin/env bash
# pycrdt 0.14.13 (PyPI): which type an integer comes back as depends on the number, and the largest comes back wrong.
#
# One would guess: a Python int put into a Map comes back as the same int, or as a float throughout (the format is that of
#   JavaScript, which has one type of number), or as a float up to 2^53 and as an int above.
# It does: an int that a float can hold comes back as a float, however large; any other comes back as an int. Of two numbers that
#   follow each other one is a float and the next an int. 2^63 - 1 counts as one that a float can hold: it comes back as 2^63, which
#   is not what was put in and does not fit into 64 bits. No error is raised.
# Why it matters: nanoseconds since 1970 are an int in one record and a float in the next; a largest 64-bit number used as "no
#   limit" overflows at the reader.
# Seen on 2026-11-28: "1 -> 1.0, 1700000000000000000 -> 1.7e+18, 1700000000000000001 -> 1700000000000000001,
#   9223372036854775806 -> 9223372036854775806, 9223372036854775807 -> 9.223372036854776e+18".
# Exit 0: still so. Needs python3 with venv.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check pycrdt==0.14.13
"$dir/venv/bin/python" - <<'PY'
from pycrdt import Doc, Map

def through(value):
    here, there = Doc(), Doc()
    here.get("m", type=Map)["x"] = value
    there.apply_update(here.get_update())
    return there.get("m", type=Map)["x"]

values = [1, 1_700_000_000_000_000_000, 1_700_000_000_000_000_001, 2**63 - 2, 2**63 - 1]
back = [through(value) for value in values]
print(", ".join(f"{value} -> {got!r}" for value, got in zip(values, back)))
assert [type(got) for got in back] == [float, float, int, int, float], "the types are others now"
assert back[:4] == values[:4] and int(back[4]) == 2**63, "the values are others now"
PY
