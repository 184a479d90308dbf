"""Training methods from the command line: several in one run, their settings, lists, and methods of other packages."""

import json
import os
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pgcn_cluster.tables.query import query
from pgcn_jobs.run_folder.manifest import read_manifest
from pgcn_jobs.storage.store import Store
from tests.cluster.running import ask, pgcn, write_photographs
from tests.sentences import check_sentence

EXAMPLE = Path(__file__).parents[2] / "examples" / "method"
BOTH = ["--method", "patchgencn", "--method", "convnet"]
COMMON = {"max_size": 20, "iterations": 3, "langevin_steps": 2, "step_size": 0.1}


def options(*methods, **changed):
    named = [word for method in methods for word in ("--method", method)]
    pairs = [word for name, value in {**COMMON, **changed}.items() for word in ("--set", f"{name}={value}")]
    small = ["--preset", "draft", "--device", "cpu", "--samples", "1", "--size", "1x1"]
    return [*named, *small, *pairs, "--local", "--workers", "1"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A run of one image with two methods."""
    folder = tmp_path_factory.mktemp("compared")
    images = write_photographs(folder / "images", 1)
    code, output = ask("run", images, "--out", folder / "run", *options("patchgencn", "convnet"))
    assert code == 0, output
    return folder, images


def test_one_run_trains_every_image_with_each_method(compared):
    folder, _ = compared
    store = Store(str(folder / "run"))
    entries = read_manifest(store)
    assert sorted((name.partition("@")[2], entry.method) for name, entry in entries.items()) == [
        ("convnet", "convnet"),
        ("patchgencn", "patchgencn"),
    ]
    rows = query(store, "SELECT method, count(*) AS n, min(algorithm) AS a FROM results GROUP BY method").to_pylist()
    assert sorted(map(tuple, (row.values() for row in rows))) == [
        ("convnet", 1, "convnet-1"),
        ("patchgencn", 1, "patchgencn-1"),
    ]
    question = "SELECT method, avg(frechet_vgg22), avg(copy), avg(train_s) FROM results GROUP BY method ORDER BY method"
    code, output = ask("query", folder / "run", question, "--format", "csv")
    assert code == 0, output
    lines = [line.replace('"', "").split(",") for line in output.splitlines()]
    assert [line[0] for line in lines] == ["method", "convnet", "patchgencn"]
    assert all(float(value) >= 0 for line in lines[1:] for value in line[1:])
    comparison = (folder / "run/gallery/compare.html").read_text()
    assert comparison.index(">patchgencn<") < comparison.index(">convnet<")
    page = (folder / "run/gallery/index.html").read_text()
    assert "convnet, patchgencn" in page
    assert all(name in page for name in entries)
    assert "methods convnet, patchgencn" in ask("status", folder / "run")[1]
    assert json.loads(ask("status", folder / "run", "--json")[1])["methods"] == ["convnet", "patchgencn"]


def test_the_run_is_continued_with_its_methods_and_no_others(compared):
    folder, images = compared
    code, output = ask("run", images, "--out", folder / "run", *options())
    assert code == 0, output
    assert "nothing left to train, 2 done before" in output, "the methods are those of the run"
    code, output = ask("run", images, "--out", folder / "run", *options("convnet"))
    assert code == 2
    assert "method: patchgencn convnet, not convnet" in output


def test_samples_of_each_method(compared):
    folder, _ = compared
    (name,) = [path.name for path in (folder / "images").iterdir()]
    code, output = ask("sample", folder / "run", name, "-n", "1", "--out", folder / "samples")
    assert code == 2
    assert "2 images" in output
    code, output = ask("sample", folder / "run", name, *BOTH, "-n", "1", "--out", folder / "samples")
    assert code == 0, output
    assert len(list((folder / "samples").glob("*.png"))) == 2


def test_a_task_with_the_pyramid_of_another_method(compared):
    folder, images = compared
    (image,) = images.iterdir()
    given = ["--pyramids", folder / "run", "--method", "convnet", "--preset", "draft", "--device", "cpu"]
    pairs = [word for name, value in COMMON.items() for word in ("--set", f"{name}={value}")]
    code, output = ask("apply", "superres", image, *given, *pairs, "--set", "factor=2", "--out", folder / "applied")
    assert code == 0, output
    assert "nothing is trained" in output


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["--method", "convent"], "method.unknown"),
        ([*BOTH, "--set", "pool_size=3"], "setting"),
        (["--method", "convnet", "--preset", "small"], "setting"),
    ],
)
def test_methods_that_do_not_exist_or_lack_a_setting(tmp_path, given, code):
    images = write_photographs(tmp_path / "images", 1)
    ended, output = ask("run", images, "--out", tmp_path / "run", "--device", "cpu", "--local", *given)
    assert ended == 2
    assert output.startswith(f"error[{code}]")
    check_sentence(code, output.partition(": ")[2].strip())
    assert not (tmp_path / "run").exists()


def test_a_list_names_a_method_for_each_row(tmp_path):
    images = write_photographs(tmp_path / "images", 2)
    first, second = sorted(path.name for path in images.iterdir())
    (images / "list.csv").write_text(f"uri,method,pool_size\n{first},convnet,\n{first},,3\n{second},,\n")
    command = ["run", images / "list.csv", "--out", tmp_path / "run", *options(), "--dry-run"]
    code, output = ask(*command)
    assert code == 0, output
    assert "3 images" in output
    assert "3 to train" in output
    (images / "list.csv").write_text(f"uri,method,pool_size\n{first},convnet,3\n")
    code, output = ask(*command)
    assert code == 2
    assert "There is no setting 'pool_size' of the method convnet" in output


def test_the_methods_and_their_settings_are_listed():
    code, output = ask("methods")
    assert code == 0
    assert "convnet" in output
    assert "patchgencn" in output
    code, output = ask("methods", "convnet")
    assert "--set reference=" in output
    assert ask("methods", "convent")[0] == 2


def test_rows_of_the_first_version_are_of_the_default_method(compared, tmp_path):
    """Their manifest has no column for it."""
    folder, _ = compared
    part = next((folder / "run/manifest").iterdir())
    (tmp_path / "manifest").mkdir()
    pq.write_table(pq.read_table(part).drop_columns(["method"]), tmp_path / "manifest" / part.name)
    assert {entry.method for entry in read_manifest(Store(str(tmp_path))).values()} == {"patchgencn"}


@pytest.fixture
def ladder(tmp_path):
    """An environment in which the package of `examples/method` is installed."""
    entry_points = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]["pgcn.methods"]
    info = tmp_path / "site" / "pgcn_ladder-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pgcn-ladder\nVersion: 1.0\n")
    points = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
    (info / "entry_points.txt").write_text(f"[pgcn.methods]\n{points}")
    return {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{EXAMPLE}"}


def test_the_example_of_a_method_of_another_package(tmp_path, ladder):
    """In the documentation as it is in `examples/method`; in worker processes too."""
    assert (EXAMPLE / "pgcn_ladder.py").read_text() in (EXAMPLE.parents[1] / "docs" / "extending.md").read_text()
    images = write_photographs(tmp_path / "images", 2)
    given = ["run", images, "--out", tmp_path / "run", *options("ladder", start_noise=0.2)]
    code, output = pgcn(*given[:-1], "2", env=ladder)
    assert code == 0, output
    assert "All 2 done." in output
    code, output = ask("status", tmp_path / "run")
    assert code == 2, "the method is not installed here"
    check_sentence("method.unknown", output.partition(": ")[2].strip())
