"""The benchmark of scale, on a few images: it runs, and prints all its steps."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.scale import counted

ROOT = Path(__file__).parents[2]
FOUND = ["imports", "find images", "write manifest", "look at images"]
LISTED = ["list commits", "check for changes"]
FIRST, AGAIN = [*FOUND, "run jobs", *LISTED, "build tables", "build gallery"], [*FOUND, *LISTED]


def numbers(table):
    """The five numbers of each step."""
    return {line[2:20].strip(): [float(number) for number in line[20:].split()[:5]] for line in table.splitlines()[2:]}


def test_every_step_of_a_run_is_measured():
    command = [sys.executable, "-m", "benchmarks.scale", "--images", "6", "20"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split("\n\n")[1:]
    assert [table.partition("(load")[0] for table in tables[:4]] == [
        "6 images, from nothing ",
        "6 images, again, all images done ",
        "20 images, from nothing ",
        "20 images, again, all images done ",
    ]
    for table, steps in zip(tables, [FIRST, AGAIN] * 2, strict=False):
        rows = numbers(table)
        assert list(rows) == [*steps, "whole command"]
        for name, (wall_s, _, _, driver_mb, all_mb) in rows.items():
            assert 50 < driver_mb < 5000, name
            assert all_mb > 50 and wall_s <= rows["whole command"][0], name
    assert "Cost per image, from 6 to 20" in tables[4]


def test_requests_are_counted_by_kind_and_once(tmp_path):
    log = tmp_path / "server.log"
    log.write_text(
        '127.0.0.1 - - [x] "GET /b?list-type=2&prefix=run HTTP/1.1" 200 -\n'
        '127.0.0.1 - - [x] "\x1b[35m\x1b[1mGET /b/images/1.png HTTP/1.1\x1b[0m" 206 -\n'
        '127.0.0.1 - - [x] "\x1b[33mHEAD /b/run/commits/1.json HTTP/1.1\x1b[0m" 404 -\n'
        '127.0.0.1 - - [x] "PUT /b/run/commits/1.json HTTP/1.1" 200 -\n'
        " * Running on http://127.0.0.1\n"
    )
    with log.open() as lines:
        assert counted(lines, 2) == "2.00 requests per image: 1 GET, 1 HEAD, 1 LIST, 1 PUT"
        assert counted(lines, 2) == ""
