"""Records of the first release, with settings under their former names, are read as today's."""

import json
from pathlib import Path

import pytest

import pgcn
from pgcn.patchgencn.resume import resume_point
from pgcn.settings import SettingsError, make_settings
from pgcn_jobs.run_folder.checkpoints import Checkpoints
from pgcn_jobs.run_folder.identity import read_identity
from pgcn_jobs.storage.store import Store

FIXTURES = Path(__file__).parents[1] / "fixtures/v0_1"


@pytest.mark.parametrize("run", ["finished", "half_done"])
def test_a_run_is_read(run):
    identity = read_identity(Store(str(FIXTURES / run)))
    assert identity is not None
    assert identity.settings.step_decay == 0.9
    assert identity.later_settings == (), "a former name is not that of a later version"


def test_a_checkpoint_is_continued():
    store = Store(str(FIXTURES / "half_done"))
    identity = read_identity(store)
    assert identity is not None
    (folder,) = (FIXTURES / "half_done/checkpoints").iterdir()
    state = Checkpoints(store, folder.name).last()
    assert state is not None
    assert '"step_fall"' in state[1]["settings"]
    sizes = json.loads(state[1]["sizes"])
    point = resume_point(state, identity.settings, int(state[1]["seed"]), sizes)
    assert point.iteration > 0
    other = identity.settings.model_copy(update={"step_decay": 0.5})
    with pytest.raises(ValueError, match="other settings, seed or sizes"):
        resume_point(state, other, int(state[1]["seed"]), sizes)


def test_a_pyramid_is_read_and_samples():
    (first, *_) = sorted((FIXTURES / "finished/attempts").glob("*/*/scale-0.safetensors"))
    pyramid = pgcn.Pyramid.load(first.parent)
    assert pyramid.settings.step_decay == 0.9
    assert pyramid.sample(1).shape[-2:] == pyramid.sizes[-1]


def test_a_former_name_is_taken_but_not_beside_the_present_one():
    assert make_settings("draft", {"step_fall": "0.25"}) == make_settings("draft", {"step_decay": 0.25})
    with pytest.raises(SettingsError, match="step_fall is the former name of step_decay"):
        make_settings("draft", {"step_fall": 0.2, "step_decay": 0.2})
