"""Options as people write them."""

import importlib.metadata

import pytest

from pgcn_cluster.planning.options import make_request, parse_pairs, read_config
from tests.cluster.running import ask
from tests.sentences import fails_with


def request(given=None, pairs=(), config=None):
    return make_request(["images"], {"out": "run", **(given or {})}, list(pairs), config)


def test_pairs():
    assert parse_pairs(["a=1", "b = x=y "]) == {"a": "1", "b": "x=y"}


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_what_is_no_pair_is_said(pair):
    with fails_with("option.value"):
        parse_pairs([pair])


def test_the_command_line_wins_over_the_file_which_wins_over_the_preset(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("preset: small\nsamples: 9\nsize: [1x1, 320x200]\niterations: 50\nstep_size: 0.02\n")
    asked = request({"samples": 3}, ["iterations=60"], config)
    assert (asked.preset, asked.samples, asked.size) == ("small", 3, ("1x1", "320x200"))
    assert asked.overrides == {"iterations": "60", "step_size": 0.02}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("iteration: 5", "option.unknown"),
        ("- 1\n- 2", "config.unreadable"),
        ("a: [", "config.unreadable"),
        ("samples: many", "option.value"),
        ("samples: 0", "option.value"),
        ("seed: -1", "option.value"),
        ("cpus_per_job: true", "option.value"),
    ],
)
def test_mistakes_in_a_file_are_said(tmp_path, text, error):
    config = tmp_path / "run.yaml"
    config.write_text(text)
    with fails_with(error):
        request(config=config)


def test_a_file_that_is_not_there(tmp_path):
    with fails_with("config.unreadable"):
        read_config(tmp_path / "none.yaml")


def test_results_have_to_go_somewhere():
    with fails_with("option.missing"):
        make_request(["images"], {"out": None})


def test_version_and_no_command():
    """The version is that of the installed package; without a command there is help, and no error beside it."""
    code, output = ask("--version")
    assert (code, output.strip()) == (0, f"pgcn {importlib.metadata.version('pgcn')}")
    code, output = ask()
    assert code == 2
    assert "Usage: pgcn" in output
    assert "error[" not in output
