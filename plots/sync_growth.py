#!/usr/bin/env python3
"""Draws what a sync session costs as stores and differences grow.

    cargo run --release -p p2p-sync-core --example sync_growth 10000 100000 1000000 > growth.csv
    plots/sync_growth.py growth.csv plots/sync_growth.svg > table.md

Writes the plot as SVG and prints the same numbers as a Markdown table. Needs nothing but Python.
"""

import csv
import math
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 980, 400
PANELS = [
    ("bytes", "bytes both ways", 2, 7),
    ("round trips", "round trips", None, None),
    ("microseconds", "CPU of both sides, µs", 1, 6),
]
# Told apart by shape and dash as well as by colour.
LOOKS = {
    10_000: ("#1b6ca8", "circle", ""),
    100_000: ("#c4581a", "square", "6 3"),
    1_000_000: ("#2e7d32", "triangle", "2 3"),
}
TOP, BOTTOM, PANEL_WIDTH, GAP, LEFT = 70, 330, 235, 75, 60


def short(number):
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def mark(shape, x, y, colour):
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    if shape == "square":
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"/>'
    return f'<path d="M{x:.1f} {y - 4.5:.1f} l4.5 8 h-9 z" fill="{colour}"/>'


def panel(rows, number, column, title, low, high):
    left = LEFT + number * (PANEL_WIDTH + GAP)
    out = [f'<text x="{left}" y="{TOP - 16}" class="title">{escape(title)}</text>']
    differences = sorted({row["differences"] for row in rows})
    at_x = lambda value: left + 12 + (PANEL_WIDTH - 24) * math.log10(value) / math.log10(max(differences))
    if low is None:
        most = max(row[column] for row in rows) + 1
        ticks = [(tick, str(tick)) for tick in range(0, most + 1)]
        at_y = lambda value: BOTTOM - (BOTTOM - TOP) * value / most
    else:
        ticks = [(10**power, short(10**power)) for power in range(low, high + 1)]
        at_y = lambda value: BOTTOM - (BOTTOM - TOP) * (math.log10(value) - low) / (high - low)
    for tick, text in ticks:
        y = at_y(tick)
        out.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + PANEL_WIDTH}" y2="{y:.1f}" class="grid"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" class="tick end">{text}</text>')
    for value in differences:
        out.append(f'<text x="{at_x(value):.1f}" y="{BOTTOM + 18}" class="tick middle">{short(value)}</text>')
    out.append(f'<text x="{left + PANEL_WIDTH / 2}" y="{BOTTOM + 38}" class="tick middle">differing keys</text>')
    for keys, (colour, shape, dash) in LOOKS.items():
        line = sorted((row["differences"], row[column]) for row in rows if row["keys"] == keys)
        points = [(at_x(x), at_y(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        out.extend(mark(shape, x, y, colour) for x, y in points)
    return out


def draw(rows):
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
        "<title>What a sync session costs, by the number of keys and of differing keys</title>",
        "<style>text{font-family:sans-serif;fill:#222}.title{font-size:13px;font-weight:bold}.tick{font-size:12px}"
        ".middle{text-anchor:middle}.end{text-anchor:end}.grid{stroke:#ddd}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    x = LEFT
    for keys, (colour, shape, dash) in LOOKS.items():
        out.append(f'<line x1="{x}" y1="20" x2="{x + 34}" y2="20" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        out.append(mark(shape, x + 17, 20, colour))
        out.append(f'<text x="{x + 42}" y="24" class="tick">{keys:,} keys on each side</text>')
        x += 220
    for number, (column, title, low, high) in enumerate(PANELS):
        out.extend(panel(rows, number, column, title, low, high))
    note = "Medians. Bytes include the records that travel, with values of 100 bytes; CPU is without a disk and without encryption."
    out.append(f'<text x="{LEFT}" y="{HEIGHT - 8}" class="tick">{note}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def table(rows):
    print("| keys | differing | runs | ended equal | one round trip | at most two | bytes, median | bytes, 99th | of records | CPU, median |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        one_trip = 100 * row["one round trip"] / row["runs"]
        two_trips = 100 * row["at most two"] / row["runs"]
        equal = 100 * row["equal"] / row["runs"]
        micros = row["microseconds"]
        cpu = f"{micros / 1000:.1f} ms" if micros >= 1000 else f"{micros} µs"
        print(
            f"| {row['keys']:,} | {row['differences']:,} | {row['runs']:,} | {equal:g} % | {one_trip:g} % "
            f"| {two_trips:g} % | {row['bytes']:,} | {row['bytes 99th']:,} | {row['record bytes']:,} | {cpu} |"
        )


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = [{name: int(value) for name, value in row.items()} for row in csv.DictReader(file)]
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(rows))
    table(rows)


main()
