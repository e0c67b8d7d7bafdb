#!/usr/bin/env bash
# croniter 7.0.0 (PyPI), cron-parser 5.10.6 and croner 11.0.1 (npm): a nightly job at 02:30 where the clock changes.
#
# One would guess: the three agree when `30 2 * * *` is due in Europe/Berlin, in the night without 02:30 and in the one with two.
# They do: without 02:30, croniter and croner say 03:00, cron-parser 03:30. With two, croniter runs the job twice, an hour apart;
#   the others once.
# Why it matters: a nightly clean-up that is planned by one library and watched by another is reported late or missing, and one that
#   must not run twice (a rotation of backups by count) does, once a year.
# Seen on 2026-11-28: "spring: croniter 01:00, cron-parser 01:30, croner 01:00; autumn: croniter 00:30 01:30, cron-parser 00:30,
#   croner 00:30" (UTC).
# Exit 0: still so. Needs node, npm and python3 with venv.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund cron-parser@5.10.6 croner@11.0.1 >/dev/null
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check croniter==7.0.0 tzdata==2026.6
cat > run.mjs <<'JS'
import { CronExpressionParser } from 'cron-parser'
import { Cron } from 'croner'
const within = (from, next) => { const due = []; for (let at = next(); at < new Date(+from + 24 * 3600e3); at = next()) due.push(at.toISOString().slice(11, 16)); return due }
const due = ['2026-03-28T11:00Z', '2026-10-24T10:00Z'].map((text) => {
  const from = new Date(text), tz = 'Europe/Berlin'
  const parsed = CronExpressionParser.parse('30 2 * * *', { currentDate: from, tz })
  const cron = new Cron('30 2 * * *', { timezone: tz, paused: true })
  let last = from
  return [within(from, () => parsed.next().toDate()), within(from, () => (last = cron.nextRun(last)))]
})
console.log(JSON.stringify(due))
JS
node run.mjs > javascript
venv/bin/python - <<'PY'
import json
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo
from croniter import croniter

berlin = ZoneInfo("Europe/Berlin")
def due(start):
    jobs, found = croniter("30 2 * * *", start.astimezone(berlin)), []
    while (at := jobs.get_next(datetime).astimezone(timezone.utc)) < start + timedelta(hours=24):
        found.append(f"{at:%H:%M}")
    return found
python = [due(datetime(2026, 3, 28, 11, tzinfo=timezone.utc)), due(datetime(2026, 10, 24, 10, tzinfo=timezone.utc))]
seen = [[ours, *theirs] for ours, theirs in zip(python, json.load(open("javascript")))]
said = []
for night, row in zip(("spring", "autumn"), seen):
    said.append(f"{night}: " + ", ".join(f"{who} {' '.join(at)}" for who, at in zip(("croniter", "cron-parser", "croner"), row)))
print("; ".join(said), "(UTC)")
assert seen == [[["01:00"], ["01:30"], ["01:00"]], [["00:30", "01:30"], ["00:30"], ["00:30"]]]
PY
