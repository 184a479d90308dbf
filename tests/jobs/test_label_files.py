"""Labels as files: the values of the file that was read, in every number format."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from pgcn.imaging.channels import RGB, Channels
from pgcn_jobs.images.label_files import encode_label
from pgcn_jobs.images.values import as_label
from pgcn_jobs.inputs.loading import encoded

PLACES = np.arange(48).reshape(6, 8) % 3


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        (np.array([0, 7, 255], np.uint8)[PLACES], "L"),
        (np.array([3, 256, 65535], np.uint16)[PLACES], "I;16"),
        (np.array([[0, 0, 0], [0, 0, 255], [128, 64, 32]], np.uint8)[PLACES], "RGB"),
        (np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2]], np.uint8)[PLACES], "RGB"),  # colours that are small numbers
        (np.array([-5, 0, 70_000], np.int32)[PLACES], "I"),
    ],
)
def test_a_label_has_the_values_of_its_file(values, mode):
    found = as_label(values, "a.png")
    group = Channels.from_json(json.dumps(found.groups)).groups[0]
    x = encoded(found.values, Channels((group,)))
    channels = Channels((*RGB.groups, group))
    file = encode_label(torch.cat([torch.zeros(1, 3, *PLACES.shape), x * 0.6], dim=1), channels)
    image = Image.open(io.BytesIO(file.data))
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image), values)


def test_an_image_without_a_label_has_no_file():
    assert encode_label(torch.zeros(1, 3, 4, 4), RGB) is None
