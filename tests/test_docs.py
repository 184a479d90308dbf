"""Agreement of the documentation with the program: commands, flags, make targets, files, tables, SQL."""

from __future__ import annotations

import re
import shlex
import shutil
from itertools import takewhile
from pathlib import Path

import pytest
import ray
import typer
from PIL import Image

from pgcn.settings import PRESETS
from pgcn.tasks.task import all_tasks
from pgcn_cluster.cli.app import app
from pgcn_cluster.exit import Exit
from pgcn_jobs.common.failures import POLICY
from tests.cluster.running import ask

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FIXTURE = ROOT / "tests" / "fixtures" / "v0_1"
COMMANDS = typer.main.get_command(app).commands
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"^(?:pgcn|jobs|cluster|benchmarks|tests|docs|deploy|examples)/[\w./-]+$")


def code_of(page: Path) -> list[str]:
    """Lines of code on a page: those of fenced blocks, continued lines joined, and inline code."""
    text = page.read_text()
    lines = [line for _, block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    return lines + INLINE.findall(FENCE.sub("", text))


def calls_of(line: str) -> list[list[str]]:
    """The calls of pgcn in a line of code: words after the program's name, without comments."""
    found = []
    for part in re.split(r"(?:^|[\s-]{2}|\s)(?:\S*/)?pgcn (?=[a-z])", line)[1:]:
        lexer = shlex.shlex(part.split("  #")[0], posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            found.append(list(lexer))
        except ValueError:  # a quotation that goes on in the next line
            found.append(part.split())
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_flags_exist(page: Path):
    wrong = []
    for line in code_of(page):
        for words in calls_of(line):
            name = words[0].strip("…,.")
            if name not in COMMANDS:
                wrong.append(f"pgcn {name}")
                continue
            # `submit` takes the options of `run` too.
            commands = [COMMANDS[name], *([COMMANDS["run"]] if name == "submit" else [])]
            flags = {flag for command in commands for option in command.params for flag in option.opts} | {"--help"}
            given = {word.split("=")[0].strip("],…") for word in words[1:] if re.match(r"--[a-z]", word)}
            wrong += [f"pgcn {name} {flag}" for flag in given - flags]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_in_prose_exist(page: Path):
    known = {flag for command in COMMANDS.values() for option in command.params for flag in option.opts}
    flags = {word for code in INLINE.findall(page.read_text()) for word in re.findall(r"^--[a-z][a-z-]*", code)}
    assert flags <= known | {"--help", "--num-cpus"}  # the last is of `ray start`


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {found for code in code_of(page) for found in re.findall(r"^make ([a-z][a-z-]*)", code)}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path):
    named = {code.split("::")[0] for code in INLINE.findall(page.read_text()) if FILE.match(code.split("::")[0])}
    assert not {name for name in named if not (ROOT / name).exists()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path):
    named = {code for code in INLINE.findall(page.read_text()) if re.fullmatch(r"test_\w+", code)}
    assert named <= {path.stem for path in (ROOT / "tests").rglob("test_*.py")}


def test_links_between_pages_lead_somewhere():
    broken = {
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    }
    assert not broken


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 900


def test_no_page_has_a_placeholder():
    lines = {f"{page.name}: {line}" for page in PAGES for line in page.read_text().splitlines()}
    assert not {line for line in lines if re.search(r": [A-Z]+_[A-Z]+$", line)}


def test_one_word_for_a_checkpoint():
    named = [*PAGES, ROOT / "Makefile", *(ROOT / "deploy").iterdir(), *(ROOT / "examples").rglob("*.md")]
    assert not {page.name for page in named if "restart point" in page.read_text()}


def table_of(page: str, first_column: str) -> dict[str, list[str]]:
    """The page's table with this first column: the other cells of each row by the first one, without backticks."""
    lines = (ROOT / page).read_text().splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |")), None)
    assert begin is not None, f"{page} has no table of {first_column}"
    rows = takewhile(lambda line: line.startswith("|"), lines[begin + 2 :])
    cells = [[cell.strip().strip("`") for cell in row[1:-1].split("|")] for row in rows]
    return {first: rest for first, *rest in cells}


def test_table_of_failure_classes():
    rows = table_of("docs/cluster.md", "class")
    assert list(rows) == [failure.value for failure in POLICY]
    for failure, policy in POLICY.items():
        _, retries, remedy, later = rows[failure]
        assert retries == ("no limit" if policy.retries is None else str(policy.retries)), failure
        assert bool(remedy) == bool(policy.remedy), failure
        tries_again = policy.again or policy.retries is None
        assert later == ("tries again" if tries_again else "only with `--retry"), failure


def test_table_of_exit_codes():
    assert list(table_of("docs/guide.md", "exit code")) == [str(code.value) for code in Exit]


def test_table_of_tasks():
    rows = table_of("docs/tasks.md", "task")
    assert set(rows) == set(all_tasks())
    for name, task in all_tasks().items():
        summary, inputs, metric = rows[name]
        assert summary == task.summary
        assert task.criterion is not None and metric == task.criterion.metric
        takes = {word for word in ("target", "mask", "truth") if getattr(task, word)}
        assert set(re.findall(r"\w+", inputs)) == takes, name
        assert {word for word in inputs.split(", ") if word and word[0] != "("} == set(task.needs), name


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_table_of_presets(page: str):
    rows = table_of(page, "preset")
    assert set(rows) == set(PRESETS)
    for name, settings in PRESETS.items():
        assert str(settings.max_size) in re.findall(r"\d+", " ".join(rows[name])), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of version 0.1.0, with the tables of this version."""
    run = tmp_path_factory.mktemp("runs") / "photos"
    shutil.copytree(FIXTURE / "finished", run)
    code, output = ask("gather", run)
    assert code == 0, output
    return run


def test_sql_of_every_page_has_an_answer(finished: Path):
    statements = [
        (page.name, sql)
        for page in PAGES
        for _, block in FENCE.findall(page.read_text())
        for sql in re.findall(r'pgcn query \S+ "([^"]+)"', block)
    ]
    assert len(statements) >= 6
    answers = {(page, sql): ask("query", finished, sql, "--format", "csv") for page, sql in statements}
    assert not {place: output for place, (code, output) in answers.items() if code}


def bash_of_the_readme() -> list[str]:
    """All lines of the README's blocks of `bash`."""
    blocks = [block for language, block in FENCE.findall((ROOT / "README.md").read_text()) if language == "bash"]
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_bash_of_the_readme_is_of_pgcn():
    lines = [shlex.split(line) for line in bash_of_the_readme()]
    assert {program for program, *_ in lines} == {".venv/bin/pgcn"}
    assert {command for _, command, *_ in lines} >= {"run", "status", "query", "sample"}


@pytest.mark.parametrize("line", bash_of_the_readme())
def test_bash_of_the_readme_runs(line: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a line with `--dry-run` in place of training, and with an image of the fixture in place of `cat.jpg`."""
    _, *words = shlex.split(line)
    shutil.copytree(finished, tmp_path / "runs" / "photos")
    (tmp_path / "photos").mkdir()
    (tmp_path / "more").mkdir()
    Image.open(FIXTURE / "images" / "gravel.png").convert("RGB").save(tmp_path / "photos" / "cat.jpg")
    shutil.copy(FIXTURE / "images" / "launch.png", tmp_path / "photos")
    shutil.copy(FIXTURE / "images" / "one.png", tmp_path / "more")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "init", lambda *given, **options: pytest.fail("the command started Ray"))
    if words[0] == "run" and "--dry-run" not in words:
        words.append("--dry-run")
    if words[0] == "sample":
        words = ["gravel.png" if word == "cat.jpg" else word for word in words]
    code, output = ask(*words)
    assert code == 0, output
