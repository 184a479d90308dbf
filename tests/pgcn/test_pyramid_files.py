"""Files of a pyramid that are complete, and wrong."""

import pytest
import torch

from pgcn.patchgencn.weights import Weights
from pgcn.pyramid import Pyramid
from pgcn.settings import make_settings


def pyramid(change=lambda tensor: tensor):
    first, *kernels = (torch.full((1, 4, inputs, 3, 3), 0.1) for inputs in (3, 4, 4, 4, 4))
    biases = tuple(torch.zeros(1, 4) for _ in range(5))
    changed = [change(kernel) for kernel in kernels]
    nets = [Weights((first, *(kernel for kernel in changed if kernel is not None)), biases)]
    return Pyramid(make_settings("draft"), 0, [(12, 16)], nets, torch.zeros(3, 12, 16), None)


def test_sound_weights_are_read():
    assert len(Pyramid.from_files(pyramid().to_files()).nets) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda kernel: kernel * float("nan"), "scale-0.safetensors has weights that are not finite numbers"),
        (lambda kernel: kernel * float("inf"), "not finite"),
        (lambda kernel: kernel[:, :1].contiguous(), "scale-0.safetensors has weights of the wrong shape"),
        (lambda kernel: kernel[:, :, :1].contiguous(), "wrong shape"),
        (lambda kernel: kernel[..., :1].contiguous(), "wrong shape"),
        (lambda kernel: None, "has weights of 1 layers, and a network has 5"),
    ],
)
def test_wrong_weights_are_an_error_not_a_black_image(change, says):
    with pytest.raises(ValueError, match=says):
        Pyramid.from_files(pyramid(change).to_files())


def test_an_image_of_another_size_is_an_error():
    whole = pyramid()
    with pytest.raises(ValueError, match="does not hold an image of 16x12 px"):
        Pyramid.from_files(Pyramid(whole.settings, 0, whole.sizes, whole.nets, torch.zeros(3, 9, 9), None).to_files())
