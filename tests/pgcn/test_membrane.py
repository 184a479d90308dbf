"""A smooth change takes the steps at the border of a pasted part, and nothing else."""

import pytest
import torch

from pgcn.imaging.membrane import evened


@pytest.fixture
def texture():
    return 0.3 * torch.randn(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))


def pasted(size=(40, 60)):
    mask = torch.zeros(1, 1, *size)
    mask[..., size[0] // 4 : size[0] * 3 // 4, size[1] // 4 : size[1] * 3 // 4] = 1
    return mask


def test_a_step_is_gone_and_detail_stays(texture):
    mask, sky = pasted(), torch.linspace(-0.5, 0.5, 60).expand(1, 3, 40, 60) + 0.05 * texture
    made = evened(sky + 0.2 * mask, mask)
    assert (made - sky).abs().max() < 0.08
    inner = (slice(None), slice(None), slice(14, 26), slice(20, 40))
    assert (torch.diff(made[inner]) - torch.diff(sky[inner])).abs().max() < 0.01


def test_a_change_between_two_steps_is_harmonic():
    """Steps of a at the left and b at the right border of a strip: between them the change is linear."""
    mask = torch.zeros(1, 1, 40, 60)
    mask[..., 15:45] = 1
    steps = torch.zeros(1, 1, 40, 60)
    steps[..., 15:45] = torch.linspace(0.1, 0.25, 30)
    made = evened(-steps * mask, mask)
    assert made[..., 16:44].abs().max() < 0.02


def test_an_object_that_ends_at_the_border_keeps_its_colours(texture):
    mask = pasted()
    bright = texture * 0.1 - 0.6 + 1.2 * mask
    assert torch.equal(evened(bright, mask), bright)


def test_all_outside_stays_and_large_images_are_alike(texture):
    mask = pasted((400, 600))
    image = torch.zeros(1, 3, 400, 600) - 0.25 * mask
    made = evened(image, mask)
    assert torch.equal(made * (1 - mask), image * (1 - mask))
    assert made.abs().max() < 0.02
