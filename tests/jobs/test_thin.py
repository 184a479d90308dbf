"""Thin images: refused while they are looked at, with what to set, and not refused any more once that is set."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from pgcn.settings import make_settings
from pgcn.tasks.task import find_task
from pgcn_jobs.common.failures import InputError
from pgcn_jobs.inputs.discover import one_source
from pgcn_jobs.run_folder.manifest import RunDefaults
from pgcn_jobs.run_folder.plan_source import plan_source
from pgcn_jobs.spec import SamplePlan
from pgcn_jobs.storage.store import Store
from pgcn_jobs.task_inputs import PyramidRequest, pyramid_for, read_inputs

SAYS = "is 1200x100 px, too thin to be learned at a max_size of 32, where its short side would be 3 px"


@pytest.fixture
def path(tmp_path):
    Image.effect_noise((1200, 100), 60).save(tmp_path / "pano.png")
    return tmp_path / "pano.png"


def asked(max_size: int) -> RunDefaults:
    return RunDefaults("draft", {"max_size": max_size}, 0, SamplePlan(), 10**6)


def test_a_thin_image_is_refused_until_a_max_size_fits_it(path):
    source = one_source(str(path))
    refused = plan_source(source, asked(32), None)
    assert refused.problem == f"pano.png {SAYS}: set max_size=144, or cut it into shorter pieces."
    assert plan_source(source, asked(32), refused).problem == refused.problem
    taken = plan_source(source, asked(144), refused)
    assert taken.problem is None
    assert plan_source(source, asked(144), None) == taken
    assert plan_source(source, asked(32), taken).problem == refused.problem


def test_what_an_earlier_version_trained_stays_as_it_is(path):
    source = one_source(str(path))
    before = replace(plan_source(source, asked(32), None), problem=None)
    assert plan_source(source, asked(32), before) == before


def test_apply_refuses_it_before_it_trains(path, tmp_path):
    read = read_inputs(str(path), None, None, None)
    settings = make_settings("draft", {"max_size": 32})
    wanted = PyramidRequest(settings, settings, 0, "cpu", None, Store(str(tmp_path / "out")))
    with pytest.raises(InputError, match=SAYS):
        pyramid_for(find_task("generate"), read, wanted, lambda progress: None, lambda line: None)
    assert torch.is_tensor(read.inputs.image)
