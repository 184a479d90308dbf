"""All tests in two pytest processes side by side: one waits for Ray most of its time, in which the other one works.

`python -m tests.halves [options of pytest]`, which `make check` calls. What the second says is shown after the first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

WAITING = "tests/cluster"


NO_TESTS = 5


def main(options: list[str]) -> int:
    """Run both halves to their ends; the exit code of the worse. Options may leave one half no test."""
    pytest = [sys.executable, "-m", "pytest", *options]
    with tempfile.TemporaryFile("w+") as said:
        rest = ["tests", f"--ignore={WAITING}", "-o", "cache_dir=.pytest_cache/other"]
        halves = [
            subprocess.Popen([*pytest, WAITING]),
            subprocess.Popen([*pytest, *rest], stdout=said, stderr=subprocess.STDOUT),
        ]
        codes = [_ended(half) for half in halves]
        said.seek(0)
        sys.stdout.write(said.read())
    ran = [code for code in codes if code != NO_TESTS]
    return max(map(abs, ran)) if ran else NO_TESTS


def _ended(half: subprocess.Popen[bytes]) -> int:
    """Its exit code. A terminal sends Ctrl-C to both halves too, and each then ends what its fixtures began."""
    while True:
        try:
            return half.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
