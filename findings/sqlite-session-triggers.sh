#!/usr/bin/env bash
# apsw 3.54.1.0 (PyPI, with SQLite 3.54.1): a changeset of SQLite's session extension, where tables have triggers or cascades.
#
# One would guess: a changeset holds the rows as they are in the end, what triggers and cascades did included, so that applying it
#   does just that: no trigger fires a second time, and nothing conflicts on an equal copy.
# It does: the triggers of the receiver fire as well, and the rows that a trigger or ON DELETE CASCADE changed are in the changeset too.
#   Two equal copies conflict: DATA for the trigger's row, NOTFOUND for each row that the cascade has removed already. What becomes
#   of the data then depends on the conflict handler.
# Why it matters: replication by changesets between equal copies works in tests without triggers, and aborts (the usual default) or
#   counts twice with them.
# Seen on 2026-11-28: "trigger: UPDATE SQLITE_CHANGESET_DATA; cascade: DELETE SQLITE_CHANGESET_NOTFOUND, DELETE
#   SQLITE_CHANGESET_NOTFOUND".
# Exit 0: still so. Needs python3 with venv.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check apsw==3.54.1.0
"$dir/venv/bin/python" - <<'PY'
import apsw

def replicated(schema, change):
    """Makes two equal copies, changes one, and applies its changeset to the other: the conflicts."""
    here, there = apsw.Connection(":memory:"), apsw.Connection(":memory:")
    for copy in (here, there):
        copy.execute("PRAGMA foreign_keys = ON")
        copy.execute(schema)
    session = apsw.Session(here, "main")
    session.attach(None)
    here.execute(change)
    conflicts = []
    def conflict(reason, row):
        conflicts.append(f"{row.op} {apsw.mapping_session_conflict[reason]}")
        return apsw.SQLITE_CHANGESET_OMIT
    apsw.Changeset.apply(session.changeset(), there, conflict=conflict)
    return conflicts

trigger = replicated("""
    CREATE TABLE item (name TEXT PRIMARY KEY, value);
    CREATE TABLE total (id INTEGER PRIMARY KEY, items);
    INSERT INTO total VALUES (1, 0);
    CREATE TRIGGER counted AFTER INSERT ON item BEGIN UPDATE total SET items = items + 1; END;
    """, "INSERT INTO item VALUES ('a', 1)")
cascade = replicated("""
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent (id) ON DELETE CASCADE);
    INSERT INTO parent VALUES (1);
    INSERT INTO child VALUES (10, 1), (11, 1);
    """, "DELETE FROM parent")
print(f"trigger: {', '.join(trigger)}; cascade: {', '.join(cascade)}")
assert trigger == ["UPDATE SQLITE_CHANGESET_DATA"]
assert cascade == ["DELETE SQLITE_CHANGESET_NOTFOUND"] * 2
PY
