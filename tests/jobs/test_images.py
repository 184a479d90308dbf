"""Pictures to tensors and PNG, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgcn_jobs.images.convert import decode
from pgcn_jobs.images.png import encode_png, to_rgb, to_tensor


def test_png_gives_back_the_same_pixels():
    rgb = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(encode_png(rgb), "x").rgb, rgb)


def test_tensors_span_minus_one_to_one_and_go_back_exactly():
    rgb = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    image = to_tensor(rgb)
    assert (image.shape, image.dtype) == ((1, 3, 16, 16), torch.float32)
    assert (image.min(), image.max()) == (-1, 1)
    assert image[0, 2, 0, 1] == pytest.approx(rgb[0, 1, 2] / 127.5 - 1)
    np.testing.assert_array_equal(to_rgb(image), rgb)
    np.testing.assert_array_equal(to_rgb(image[0]), rgb)


def test_to_rgb_clamps_and_rounds():
    image = torch.tensor([-3.0, 3.0, 100.4 / 127.5 - 1, 100.6 / 127.5 - 1]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_rgb(image)[..., 1].tolist() == [[0, 255], [100, 101]]


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 4, 4), (3, 4), (1, 1, 4, 4)])
def test_to_rgb_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="expected"):
        to_rgb(torch.zeros(shape))
