"""The options of a run: the command line, YAML files, lists, `submit` and job identity agree with `RunOptions`."""

import pytest
import typer

from pgcn_cluster.cli.app import app
from pgcn_cluster.cli.submit import run_parameters
from pgcn_cluster.planning.options import make_request, request_of
from pgcn_cluster.planning.request import prepare
from pgcn_cluster.planning.run_options import OptionDeclaration, Request, declarations
from pgcn_cluster.ray_cluster.session import Cluster
from pgcn_cluster.submission.submit import run_arguments
from pgcn_jobs.inputs.lists import image_list
from tests.cluster.running import TINY, photograph
from tests.sentences import fails_with

OPTIONS = declarations()
PARAMETERS = {each.name: each for each in typer.main.get_command(app).commands["run"].params}
NAMES = [option.name for option in OPTIONS]


def other_value(option: OptionDeclaration) -> object:
    """A valid value that is not the default."""
    if option.repeated:
        return ("1x1", "320x200")
    if option.kind is bool:
        return True
    if option.kind is str:
        return {"device": "cpu", "preset": "small", "task": "superres"}.get(option.name, "x/{stem}.png")
    return option.kind(0.5) if option.name == "gpus_per_job" else option.kind((option.minimum or 1) + 6)


OTHER = {option.name: other_value(option) for option in OPTIONS}


@pytest.mark.parametrize("option", OPTIONS, ids=NAMES)
def test_the_command_line_declares_each_option_as_the_model_does(option):
    parameter = PARAMETERS[option.name]
    assert parameter.opts == option.flags
    assert parameter.help == option.help and option.help.endswith((".", "png"))
    assert parameter.multiple == option.repeated
    assert parameter.metavar == option.facts.metavar
    assert (parameter.min, parameter.max) == (option.minimum, option.maximum)
    assert parameter.type_descriptor.annotation == (list[option.kind] if option.repeated else option.kind)
    assert option.kind is bool or option.default is None or text_of(parameter.show_default) == text_of(option.default)


def text_of(value: object) -> str:
    """A default as text, 1 and 1.0 alike."""
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value)


def test_the_command_has_no_other_options():
    assert PARAMETERS.keys() - set(NAMES) == {"images", "set_", "config", "dry_run", "help"} & PARAMETERS.keys()


@pytest.mark.parametrize("option", OPTIONS, ids=NAMES)
def test_a_file_and_the_command_line_set_each_option_alike(option, tmp_path):
    value = OTHER[option.name]
    config = tmp_path / "run.yaml"
    text = list(value) if option.repeated else value
    config.write_text(f"{option.name}: {text!r}\n".replace("True", "true"))
    out = [] if option.name == "out" else ["--out", "run"]
    by_file = request_of(run_parameters(["a.png", *out, "--config", str(config)]))
    by_line = request_of(run_parameters(["a.png", *out, *option.arguments(value)]))
    assert getattr(by_file, option.name) == getattr(by_line, option.name) == value


@pytest.mark.parametrize("option", OPTIONS, ids=NAMES)
def test_submit_sends_each_option(option):
    request = make_request(["a.png"], {"out": "run", option.name: OTHER[option.name]}, ["iterations=5"])
    assert request_of(run_parameters(run_arguments(request))) == request
    assert Request.model_validate_json(request.model_dump_json()) == request, "the preflight gets it as JSON"


@pytest.mark.parametrize(
    ("name", "value"), [("samples", 0), ("samples", True), ("seed", -1), ("gpus_per_job", 2.0), ("cpus_per_job", 0)]
)
def test_bounds_hold_wherever_a_value_comes_from(name, value):
    with fails_with("option.value"):
        make_request(["a.png"], {"out": "run", name: value})


def test_columns_of_a_list_are_those_of_the_options():
    columns = {option.facts.column for option in OPTIONS if option.facts.column is not None}
    own = {*image_list._OWN_COLUMNS, *image_list._TASK_COLUMNS}
    # The image itself, and what only a row has: names, and the seed of a row's task.
    assert own - columns == {"uri", "image_id", "edit_id", "task_seed"}
    assert columns <= own


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.facts.scheduling], ids=lambda option: option.name)
def test_scheduling_options_are_no_part_of_identity(option, tmp_path):
    photograph(0).save(tmp_path / "a.png")
    request = Request(
        images=[str(tmp_path / "a.png")], out=str(tmp_path / "run"), preset="draft", device="auto", overrides=TINY
    )
    value = {"ray_address": None}.get(option.name, OTHER[option.name])
    plain, changed = (
        prepare(each, Cluster(None)) for each in (request, request.model_copy(update={option.name: value}))
    )
    assert not plain.identity.differences(changed.identity)
    assert (plain.ask.seed, plain.ask.plan) == (changed.ask.seed, changed.ask.plan)
    assert plain.ask.settings(plain.sources[0]) == changed.ask.settings(changed.sources[0])


def test_an_option_is_taken_under_its_former_name_too(tmp_path):
    (tmp_path / "c.yaml").write_text("stack: 3\nout: run\n")
    assert request_of(run_parameters(["x.png", "--out", "run", "--stack", "2"])).batch == 2
    assert request_of(run_parameters(["x.png", "--config", str(tmp_path / "c.yaml")])).batch == 3
