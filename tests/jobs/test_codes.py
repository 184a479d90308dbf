"""Stable codes: every expected failure has one, and records of version 0.1, which have none, are read."""

import ast
import pickle
from pathlib import Path

import pytest

from pgcn.settings import SettingsError
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import CODE_OF_CLASS, ConfigError, FailureClass, JobError, code_of
from pgcn_jobs.run_folder.commit import read_failures
from pgcn_jobs.run_folder.manifest import read_manifest
from pgcn_jobs.storage.store import Store

ROOT = Path(__file__).parents[2]
FILES = [path for package in ("pgcn_jobs", "pgcn_cluster") for path in sorted((ROOT / package).rglob("*.py"))]
ERRORS = {"DecodeError", *(each.__name__ for each in JobError.__subclasses__())}
FINISHED = ROOT / "tests" / "fixtures" / "v0_1" / "finished"


def test_every_expected_error_is_raised_with_a_code():
    without = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in FILES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ERRORS
        if not any(keyword.arg == "code" for keyword in call.keywords)
    ]
    assert not without


def test_every_code_is_used():
    text = "".join(path.read_text() for path in FILES)
    assert not [code.name for code in Code if f"Code.{code.name}" not in text]


def test_codes_are_words_with_points():
    assert all(part.isidentifier() and part.islower() for code in Code for part in code.split("."))


def test_every_class_has_a_code():
    assert CODE_OF_CLASS.keys() == set(FailureClass)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("No.", code=Code.SIZE), "size"),
        (SettingsError("No."), "setting"),
        (MemoryError(), "memory.host"),
        (ZeroDivisionError(), "bug"),
    ],
)
def test_the_code_of_any_exception(error, code):
    assert code_of(error) == code


def test_a_code_survives_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(ConfigError("No.", code=Code.SIZE)))
    assert (str(error), error.code) == ("No.", Code.SIZE)


def test_records_without_codes_are_read():
    store = Store(str(FINISHED))
    failures = [failure for found in read_failures(store).values() for failure in found]
    assert failures and all(failure.code is None and failure.message for failure in failures)
    assert all(entry.problem_code is None for entry in read_manifest(store).values())
