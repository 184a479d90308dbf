"""Unit length of normals: in chains, at every scale, after resizing and in files."""

import pytest
import torch

import pgcn
from pgcn import methods
from pgcn.imaging.channels import RGB, Channels, Group, Image, unit_rule
from pgcn.imaging.normals import SHORTEST, unit
from pgcn.patchgencn.energy import crop, pad
from pgcn.patchgencn.training_chains import training_chains
from pgcn.settings import make_settings

H, W = 40, 44
MATERIAL = Channels((Group("colour", "colour"), Group("normal", "normal"), Group("height", "band")))


def material():
    """A wavy surface with its normals and height, `(1, 7, H, W)`."""
    y, x = torch.meshgrid(torch.arange(H) / 4, torch.arange(W) / 3, indexing="ij")
    height = (y.sin() + x.cos()) / 2
    normal = unit(torch.stack([x.sin() / 2, -y.cos() / 2, torch.ones_like(x)])[None])
    return torch.cat([(height * torch.tensor([0.8, 0.2, -0.5]).view(1, 3, 1, 1)), normal, height[None, None]], dim=1)


def lengths(x):
    return MATERIAL.of(x, "normal").norm(dim=1)


OF = {
    "learned": {"max_size": 40, "min_size": 14, "iterations": 2, "detail": "learned", "scales": 2},
    "exact": {"max_size": 32, "min_size": 14, "iterations": 2, "learned_size": 20, "scales": 1},
    "multigrid": {"max_size": 24, "min_size": 12, "iterations": 2, "detail": "learned", "scales": 2},
}


@pytest.fixture(scope="module", params=OF)
def pyramid(request):
    method = request.param if request.param == "multigrid" else "patchgencn"
    settings = methods.make_settings("draft", OF[request.param], method)
    made = pgcn.fit(Image(material(), MATERIAL), settings=settings)
    assert (made.exact is not None) == (request.param == "exact")
    return made


def test_normals_have_unit_length_at_every_scale_and_size(pyramid):
    ends = [*next(pyramid.samples(2)), *pyramid.reconstruct(), *pyramid.observed_scales(), pyramid.sample(1, (50, 31))]
    again = methods.load_model(pyramid.to_files())
    for end in [*ends, again.sample(1), pyramid.observed]:
        torch.testing.assert_close(lengths(end), torch.ones_like(lengths(end)), atol=1e-5, rtol=0)


def test_normals_are_renormalized_after_each_step_of_training_and_not_in_the_border():
    seen = []

    def gradient(x):
        seen.append(x)
        return torch.full_like(x, 0.5)

    rule, settings = unit_rule([MATERIAL]), make_settings("draft", {"max_size": 40, "min_size": 14})
    start = pad(rule(material()))
    ends = training_chains(start, None, start, gradient, 0, settings, rule)
    assert len(seen) > 2
    for state in [*seen, *ends]:
        torch.testing.assert_close(lengths(crop(state)), torch.ones_like(lengths(crop(state))), atol=1e-5, rtol=0)
    assert float(lengths(ends[0])[0, 0, 0]) != pytest.approx(1, abs=1e-3), "the border moves as in other images"


def test_tiles_are_tori_in_all_maps_with_unit_normals(pyramid):
    made = pyramid.apply("generate", material(), number=1, tile=True, width=56, height=36)
    assert made.result.shape == (1, 7, 36, 56)
    torch.testing.assert_close(lengths(made.result), torch.ones(1, 36, 56), atol=1e-5, rtol=0)
    maps = [made.metrics[f"seam_ratio_{group.name}"] for group in MATERIAL.groups]
    assert max(maps) < 2.5, "no map has a seam"
    assert {"alignment", "alignment_image", "seam_ratio", "repeat"} <= made.metrics.keys()


def test_vectors_without_direction_are_flat():
    n = torch.zeros(1, 3, 1, 2)
    n[0, :, 0, 1] = torch.tensor([0.0, 3 * SHORTEST, 4 * SHORTEST])
    assert unit(n)[0, :, 0].T.flatten().tolist() == pytest.approx([0, 0, 1, 0, 0.6, 0.8])


def test_files_have_unit_vectors_and_keep_those_that_are_read():
    group = Group("normal", "normal")
    stored = torch.randint(0, 256, (1, 3, 8, 8), generator=torch.Generator().manual_seed(0)).double()
    written = group.decode(group.encode(stored))
    n = written / 127.5 - 1
    assert float((n.norm(dim=1) - 1).abs().max()) < 0.0068, "within the rounding of 8 bits"
    torch.testing.assert_close(group.decode(group.encode(written)), written, atol=0, rtol=0)


def test_images_without_normals_have_no_rule():
    assert unit_rule([RGB, RGB]) is None
    assert unit_rule([MATERIAL, MATERIAL]).where == (slice(3, 6), slice(10, 13))
