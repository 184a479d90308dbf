"""The same training on a GPU. Skips where there is none."""

import pytest
import torch

import pgcn

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine: the GPU path is not tested here"),
]

SETTINGS = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 8})
IMAGE = torch.rand(1, 3, 18, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_trains_samples_and_resumes_on_a_gpu():
    trainer = pgcn.Trainer([IMAGE], SETTINGS, [1], "cuda")
    for _ in range(5):
        trainer.iterate()
    state = trainer.state_dict()
    again = pgcn.Trainer([IMAGE], SETTINGS, [1], "cuda")
    again.load_state_dicts([state])
    for one in (trainer, again):
        for _ in one.iterations():
            pass
    expected, resumed = (pgcn.Pyramid.trained(one).sample(2, size=(18, 48)).cpu() for one in (trainer, again))
    assert expected.shape == (2, 3, 18, 48)
    torch.testing.assert_close(resumed, expected, atol=0.05, rtol=0)


def test_a_sample_on_a_gpu_is_that_of_the_cpu():
    pyramid = pgcn.fit(IMAGE, settings=SETTINGS)
    torch.testing.assert_close(pyramid.to("cuda").sample(2, seed=3).cpu(), pyramid.sample(2, seed=3), atol=0.02, rtol=0)


def test_what_a_training_held_is_free_after_it():
    """Graphs keep their memory for as long as they live; a worker trains thousands of images."""
    trainer = pgcn.Trainer([IMAGE], SETTINGS, [1], "cuda")
    for _ in trainer.iterations():
        pass
    before = torch.cuda.memory_allocated()
    del trainer
    assert torch.cuda.memory_allocated() < before
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < 64 * 2**20
