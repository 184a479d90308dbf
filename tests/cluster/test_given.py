"""Options of the command line are used or refused, never silently ignored."""

import pytest
from PIL import Image

from pgcn.settings import SettingsError
from pgcn_cluster.planning.options import merged, parse_pairs, read_config
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_jobs.common.failures import ConfigError
from tests.cluster.running import TINY, ask, request_for, write_photographs
from tests.sentences import check_error, fails_with

SMALL = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("given") / "photos", 1) / "photo-00.png"


def test_a_seed_by_set_is_the_seed(photo, tmp_path):
    """The same picture as by --seed, and not that of the default."""
    for name, words in (("set", ["--set", "seed=5"]), ("flag", ["--seed", "5"]), ("none", [])):
        out = tmp_path / name / "x.png"
        code, output = ask("apply", "generate", photo, "--out", out, *SMALL, "--set", "number=1", *words)
        assert code == 0, output
    by_set, by_flag, default = ((tmp_path / name / "x.png").read_bytes() for name in ("set", "flag", "none"))
    assert by_set == by_flag != default


@pytest.mark.parametrize(
    ("task", "words", "error"),
    [
        ("generate", ["--seed", "5", "--set", "seed=6"], "option.twice"),
        ("paint", ["--start-scale", "1", "--set", "start_scale=0"], "option.twice"),
        ("paint", ["--sweep", "--set", "sweep=false"], "option.twice"),
        ("generate", ["--set", "number=1", "--set", "number=2"], "option.twice"),
        ("generate", ["--set", "nmber=1"], "task.invalid"),
        ("generate", ["--sweep"], "task.invalid"),
        ("superres", ["--start-scale", "1"], "task.invalid"),
        ("generate", ["--mask", "MASK"], "task.invalid"),
        ("generate", ["--target", "MASK"], "task.invalid"),
        ("generate", ["--truth", "MASK"], "task.invalid"),
        ("energy", ["--truth", "MASK"], "task.invalid"),
    ],
)
def test_what_a_task_does_not_use_is_refused(photo, tmp_path, task, words, error):
    mask = tmp_path / "mask.png"
    Image.linear_gradient("L").point(lambda level: 255 * (level > 99)).save(mask)
    code, output = ask("apply", task, photo, "--out", tmp_path / "out", *(mask if w == "MASK" else w for w in words))
    assert code == 2, output
    check_error(output, error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"target": "x.png"}, "--target belongs to a task"),
        ({"mask": "x.png"}, "--mask belongs to a task"),
        ({"truth": "x.png"}, "--truth belongs to a task"),
        ({"task": "generate", "truth": "PHOTO"}, "no figure that a truth would be for"),
        ({"task": "superres", "mask": "PHOTO"}, "takes no mask"),
        ({"task": "superres", "overrides": {**TINY, "nothing": "1"}}, "no option 'nothing'"),
        ({"overrides": {**TINY, "seed": "5"}}, "seed"),
        ({"overrides": {**TINY, "factor": "5"}}, "factor"),
        ({"pyramids": "RUN"}, "--pyramids is for tasks only"),
        ({"gpus_per_job": 0.5}, "--gpus-per-job is for GPUs"),
    ],
)
def test_what_a_run_does_not_use_is_refused(photo, tmp_path, asked, sentence):
    (tmp_path / "run.json").write_text("{}")
    places = {"PHOTO": str(photo), "RUN": str(tmp_path)}
    asked = {name: places.get(value, value) if isinstance(value, str) else value for name, value in asked.items()}
    if "pyramids" in asked:
        (tmp_path / "run.json").unlink()
        (tmp_path / "pyramids").mkdir()
        (tmp_path / "pyramids" / "x").write_text("x")
    with pytest.raises((ConfigError, SettingsError), match=sentence):
        prepare(request_for(photo, str(tmp_path / "out")).model_copy(update=asked), Cluster(None))


def test_a_task_that_no_row_of_a_list_needs_is_refused(photo, tmp_path):
    (tmp_path / "list.csv").write_text(f"uri,task\n{photo},superres\n")
    with fails_with("option.value"):
        request = request_for(tmp_path / "list.csv", str(tmp_path / "out"))
        prepare(request.model_copy(update={"task": "generate"}), Cluster(None))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"allow_local": True}, "--allow-local has no effect"),
        ({"gpus_per_job": 0.5, "device": "auto"}, "--gpus-per-job has no effect"),
    ],
)
def test_what_has_no_effect_here_is_told_of(photo, tmp_path, asked, sentence):
    request = request_for(photo, str(tmp_path / "out")).model_copy(update=asked)
    assert any(sentence in said for said in prepare(request, Cluster(None)).said)


def test_passed_files_and_unread_columns_are_told_of(photo, tmp_path):
    (tmp_path / "list.csv").write_text(f"uri,note\n{photo},x\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.xyz").write_bytes(b"x")
    (tmp_path / "folder" / "b.png").write_bytes(b"x")
    code, output = ask("run", tmp_path / "list.csv", tmp_path / "folder", "--out", tmp_path / "out", "--dry-run")
    assert code == 0, output
    assert "nothing reads its columns note" in output
    assert "1 .xyz" in output


def test_a_name_twice_in_a_config_file_is_refused(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("iterations: 5\nseed: 1\niterations: 6\n")
    with fails_with("option.twice"):
        read_config(config)


def test_pairs_and_flags():
    assert merged({"a": "1"}, {"seed": None, "sweep": True}) == {"a": "1", "sweep": True}
    assert parse_pairs(["a=1", "a=1"]) == {"a": "1"}


def test_two_ways_of_status_are_refused(tmp_path):
    code, output = ask("status", tmp_path, "--json", "--watch")
    assert (code, "give one of them" in output) == (2, True)
