"""All tests in two pytest processes side by side: one waits for Ray most of its time, in which the other one works.

`python -m tests.halves [options of pytest]`, which `make check` calls. What the second says is shown after the first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

WAITING = "tests/cluster"


def main(options: list[str]) -> int:
    """Run both halves to their ends; the exit code of the worse."""
    pytest = [sys.executable, "-m", "pytest", *options]
    with tempfile.TemporaryFile("w+") as said:
        working = subprocess.Popen(
            [*pytest, "tests", f"--ignore={WAITING}", "-o", "cache_dir=.pytest_cache/other"],
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            codes = [subprocess.run([*pytest, WAITING]).returncode, working.wait()]
        except KeyboardInterrupt:  # which a terminal sends to both
            codes = [working.wait() or 2]
        finally:
            working.terminate()
            working.wait()
            said.seek(0)
            sys.stdout.write(said.read())
    return max(map(abs, codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
