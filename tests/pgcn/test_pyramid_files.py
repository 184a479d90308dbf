"""Files of a pyramid that are complete, and wrong."""

import pytest
import torch

from pgcn.patchgencn.weights import Weights
from pgcn.pyramid import Pyramid
from pgcn.settings import make_settings


def pyramid(change=lambda tensor: tensor):
    kernels = (torch.full((1, 4, 3, 3, 3), 0.1), torch.full((1, 2, 4, 3, 3), 0.1))
    biases = (torch.zeros(1, 4), torch.zeros(1, 2))
    nets = [Weights((kernels[0], change(kernels[1])), biases)]
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
    ],
)
def test_wrong_weights_are_an_error_not_a_black_image(change, says):
    with pytest.raises(ValueError, match=says):
        Pyramid.from_files(pyramid(change).to_files())
