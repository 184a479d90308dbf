"""The same training on a GPU. Skips where there is none."""

import pytest
import torch

import pgcn
from pgcn.exact import DetailSettings, ExactDetail
from pgcn.imaging.scales import resize

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


SIZES = [(16, 20), (32, 40), (64, 80)]


def drawn(device, channels=3, known=None, wrap=False):
    """A picture that the exact scales draw, and where it comes from."""
    generator = torch.Generator().manual_seed(0)
    coarse, fine = (torch.rand(1, channels, side, side, generator=generator) * 2 - 1 for side in (6, 32))
    image = 0.6 * resize(coarse, (64, 80)) + 0.4 * resize(fine, (64, 80))
    known = None if known is None else known.to(device)
    exact = ExactDetail(image.to(device), SIZES, DetailSettings(patch=7, components=16), known)
    layout = resize(image.roll((20, 30), (2, 3)), (12, 15)).to(device)
    *_, last = exact.draw(layout, SIZES, [6], wrap=wrap)
    return last.picture.cpu(), last.fields[0].index.cpu()


@pytest.mark.parametrize(("channels", "half", "wrap"), [(3, False, False), (1, False, True), (5, True, False)])
def test_exact_scales_on_a_gpu_draw_what_they_draw_on_the_cpu(channels, half, wrap):
    known = (torch.arange(80) < 40).float().expand(1, 1, 64, 80) if half else None
    (ours, matches), (theirs, _) = (drawn(device, channels, known, wrap) for device in ("cuda", "cpu"))
    assert float(((ours - theirs).abs() < 0.02).float().mean()) > 0.9  # near ties may be decided by rounding
    if half:
        assert int((matches % 80).max()) < 40


def test_exact_scales_on_a_gpu_repeat_to_the_bit():
    (ours, matches), (again, same) = drawn("cuda"), drawn("cuda")
    assert torch.equal(ours, again)
    assert torch.equal(matches, same)


def test_exact_scales_in_plain_pytorch_draw_the_same(monkeypatch):
    ours, _ = drawn("cuda")
    monkeypatch.setenv("PGCN_PLAIN", "1")
    assert float(((ours - drawn("cuda")[0]).abs() < 0.02).float().mean()) > 0.9
