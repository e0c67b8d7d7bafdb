#!/usr/bin/env bash
# apsw 3.50.4.0 (PyPI, SQLite 3.50.4): a link in the place of the database, or of its write-ahead log.
#
# One would guess: SQLite follows a link at the database file, so it follows one at the log too; or it refuses both.
# It does neither: it follows the first, and keeps the log beside the target of the link, so a log that lies beside the link is
#   not looked at, without a word. A link at `-wal` or `-shm` ends in "unable to open database file", which names neither the
#   file nor the link.
# Why it matters: whoever moves a store to another disk and leaves links behind has to move all three files and to link only the
#   first. With a link for each file it does not open; with one for the first and a log left behind, what is in the log is missing.
# Seen on 2026-11-28: "plain: 2 rows; link at s.db, log beside the link: 1 rows; link at s.db, log beside the target: 2 rows;
#   link at s.db-wal: CantOpenError unable to open database file; link at s.db-shm: CantOpenError unable to open database file".
# Exit 0: still so. Needs python3 with venv.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check apsw==3.50.4.0
cat > make.py <<'PY'
import apsw, os, shutil

os.mkdir('whole')
writer = apsw.Connection('s.db')
writer.execute('PRAGMA journal_mode=WAL')
writer.execute('CREATE TABLE t(x)')
writer.execute('INSERT INTO t VALUES (1)')
writer.execute('PRAGMA wal_checkpoint(TRUNCATE)')
writer.execute('INSERT INTO t VALUES (2)')
# The second row is in the log only.
for name in ['s.db', 's.db-wal', 's.db-shm']:
    shutil.copy(name, 'whole')
PY
cat > look.py <<'PY'
import apsw, os, shutil, sys

moved = sys.argv[1:]
shutil.copytree('whole', 'here')
os.mkdir('there')
for name in moved:
    shutil.move(os.path.join('here', name), 'there')
if moved:
    os.symlink(os.path.join('..', 'there', moved[0]), os.path.join('here', moved[0]))
try:
    rows = apsw.Connection('here/s.db').execute('SELECT count(*) FROM t').fetchone()[0]
    print(f'{rows} rows')
except apsw.Error as error:
    print(type(error).__name__, error)
PY
venv/bin/python make.py
look() { rm -rf here there; venv/bin/python look.py "$@"; }
said="plain: $(look); link at s.db, log beside the link: $(look s.db); link at s.db, log beside the target: $(look s.db s.db-wal s.db-shm)"
said+="; link at s.db-wal: $(look s.db-wal); link at s.db-shm: $(look s.db-shm)"
echo "$said"
refused="CantOpenError unable to open database file"
[ "$said" = "plain: 2 rows; link at s.db, log beside the link: 1 rows; link at s.db, log beside the target: 2 rows; link at s.db-wal: $refused; link at s.db-shm: $refused" ]
