"""Metrics of labels on made images: undecided pixels, shares and patches of classes; copies across images."""

import pytest
import torch

from pgcn.imaging.channels import RGB, Channels, Group
from pgcn.metrics.cross_copying import coarse, copy_share, most_similar
from pgcn.metrics.labels import class_shares, label_metrics, missing_classes, undecided

LABEL = Group("label", "label", "uint8", 0, 9, None, (0, 4, 9))
CHANNELS = Channels((*RGB.groups, LABEL))
SIDE = 48


def picture(seed, side=SIDE):
    """Smooth noise `(1, 3, side, side)`."""
    noise = torch.rand(1, 3, side // 4, side // 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(noise, size=(side, side), mode="bicubic").clamp(-1, 1)


def whole(label, colours=None):
    """An image whose pixels are brighter in the first half of its rows, with the label of class numbers `label`."""
    colours = picture(0) * 0.3 if colours is None else colours
    return torch.cat([colours, LABEL.encode(label.view(1, 1, *label.shape))], dim=1)


@pytest.fixture
def halves():
    """Upper half class 0, lower half class 4; class 9 nowhere."""
    label = torch.zeros(SIDE, SIDE)
    label[SIDE // 2 :] = 4
    return label


def test_pixels_between_two_categories_are_undecided():
    label = LABEL.encode(torch.zeros(1, 1, 10, 10))
    assert undecided(label) == 0
    label[:, 0, :3] = -0.2  # beside -1 of the others: nearer to the category than to none, by less than half
    assert undecided(label) == pytest.approx(0.3)
    known = torch.ones(1, 1, 10, 10)
    known[..., :3, :] = 0
    assert undecided(label, known) == 0
    assert undecided(label[:, :1]) == 0, "one category"


def test_shares_are_those_of_known_pixels(halves):
    x = LABEL.encode(halves.view(1, 1, SIDE, SIDE))
    assert class_shares(x) == [0.5, 0.5, 0]
    known = torch.ones(1, 1, SIDE, SIDE)
    known[..., : SIDE // 2, :] = 0
    assert class_shares(x, known) == [0, 1, 0]


def test_the_image_itself_is_without_error_and_others_are_not(halves):
    image = whole(halves)
    found = label_metrics(image, image, CHANNELS)
    assert found["undecided"] == found["class_share_error"] == 0
    assert found["class_share_4"] == found["class_share_4_image"] == 0.5
    assert found["class_patches_0"] == found["class_patches_4"] == 0
    assert found["class_patches_0_image"] > 0
    assert "class_patches_9" not in found, "a category without pixels has no patches"
    # One class has other pixels, and the label another boundary: that class alone differs.
    changed = image.clone()
    changed[:, :3, SIDE // 2 :] = -changed[:, :3, SIDE // 2 :] + 0.5
    other = label_metrics(image, changed, CHANNELS)
    assert other["class_patches_4"] > 3 * found["class_patches_4_image"]
    assert other["class_patches_0"] < other["class_patches_4"] / 3
    moved = halves.clone()
    moved[SIDE // 4 :] = 4
    assert label_metrics(image, whole(moved), CHANNELS)["class_share_error"] == pytest.approx(0.25)


def test_unknown_pixels_of_the_image_are_left_out(halves):
    image, known = whole(halves), torch.ones(1, 1, SIDE, SIDE)
    known[..., :12, :] = 0
    changed = image.clone()
    changed[:, :, :12] = whole(torch.full((SIDE, SIDE), 9.0), torch.ones(1, 3, SIDE, SIDE))[:, :, :12]
    found, same = (label_metrics(x, image, CHANNELS, known) for x in (changed, image))
    assert found == same
    assert "class_share_9_image" in found and found["class_share_9_image"] == 0


def test_categories_that_samples_lack_are_named(halves):
    image = whole(halves)
    lost = label_metrics(image, whole(torch.zeros(SIDE, SIDE)), CHANNELS)
    assert missing_classes(lost) == ["4"]
    assert missing_classes(label_metrics(image, image, CHANNELS)) == []


def test_images_without_a_label_have_no_metrics_of_one():
    assert label_metrics(picture(0), picture(1), RGB) == {}


def test_a_second_label_has_names_of_its_own(halves):
    other = Group("parts", "label", "uint8", 0, 9, None, (0, 4, 9))
    x = torch.cat([whole(halves), whole(halves)[:, 3:]], dim=1)
    found = label_metrics(x, x, Channels((*CHANNELS.groups, other)))
    assert {"undecided", "parts.undecided"} <= found.keys()


def test_a_copy_of_another_image_is_found_among_many():
    images = {f"{seed}.png": picture(seed, 64) for seed in range(6)}
    sample = torch.cat([picture(9, 64)[..., :12], images["4.png"][..., 5:57]], dim=3)
    assert most_similar(sample, (coarse(name, image) for name, image in images.items())) == "4.png"
    assert most_similar(sample, []) is None
    assert copy_share(sample, images["4.png"]) > 0.6 > 0.3 > copy_share(sample, images["1.png"])
