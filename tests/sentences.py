"""Snapshots of error sentences: tests match stable codes, and sentences stand once in `tests/sentences/KIND.txt`.

The file of a code is named after the code's first word. Each line of it is one sentence, as `CODE: SENTENCE`. New
and changed sentences are written with `UPDATE_SENTENCES=1 pytest …`, and reviewed as a diff.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import JobError
from pgcn_jobs.images.unreadable import DecodeError

FOLDER = Path(__file__).with_name("sentences")

_CHANGING = [
    (re.compile(r"/(?:tmp|private|var)/[^\s'`\"]*?pytest-\d+/(?:popen-gw\d+/)?[^/\s'`\"]+"), "<tmp>"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:<port>"),
    (re.compile(r"\b\d{8}T\d{6}-[0-9a-f]+"), "<attempt>"),
    (re.compile(r"\b[0-9a-f]{12,20}\b"), "<id>"),
    (re.compile(r"(?<=-)[0-9a-f]{6}\b"), "<id>"),  # of an edit: a hash of where its images are
]


def check_sentence(code: str, sentence: str) -> None:
    """Assert that the snapshot has this sentence under this code."""
    assert code in set(Code), f"{code!r} is not a code"
    text = " / ".join(line.strip() for line in sentence.splitlines())
    for pattern, name in _CHANGING:
        text = pattern.sub(name, text)
    line, path = f"{code}: {text}", FOLDER / f"{code.split('.')[0]}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    if os.environ.get("UPDATE_SENTENCES") and line not in lines:
        FOLDER.mkdir(exist_ok=True)
        path.write_text("\n".join(sorted([*lines, line])) + "\n")
        return
    assert line in lines, f"{path.name} does not have\n{line}\nWrite it with UPDATE_SENTENCES=1, and review the diff."


@contextmanager
def fails_with(code: str) -> Iterator[pytest.ExceptionInfo[JobError | DecodeError]]:
    """The block raises an error with this code, and with a sentence of the snapshot."""
    with pytest.raises((JobError, DecodeError)) as caught:
        yield caught
    assert caught.value.code == code, f"{caught.value.code}: {caught.value}"
    check_sentence(code, str(caught.value))


def check_error(output: str, code: str) -> None:
    """The output of a command ends with `error[CODE]: SENTENCE`, for this code and a sentence of the snapshot."""
    found = re.search(r"error\[([\w.]+)\]: (.*)", output, re.DOTALL)
    assert found is not None, output
    assert found[1] == code, output
    assert "Traceback" not in output
    check_sentence(code, found[2].strip())
