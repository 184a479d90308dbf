"""Documentation that agrees with the program: commands, flags, make targets, and files that pages name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from cluster.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
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
