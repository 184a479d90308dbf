"""The benchmark of anomaly maps: folders in MVTec's layout, the baselines, and the made cases."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.anomalies import SELF, table, table_of_methods
from benchmarks.anomaly_baselines import rx, sorted_features
from benchmarks.anomaly_cases import SIDE, Category, categories
from benchmarks.anomaly_folders import read_category
from benchmarks.anomaly_methods import MethodEnergy
from benchmarks.anomaly_reference import Reference
from pgcn.anomaly import CrossFit
from pgcn.metrics.pictures import auroc

SPOT = slice(10, 15), slice(20, 25)


def texture(seed):
    """Noise that is smooth along rows, in colour."""
    noise = np.random.default_rng(seed).normal(0, 1, (32, 43, 3))
    return np.clip(128 + 40 * (noise[:, :40] + noise[:, 1:41] + noise[:, 2:42]) / 1.7, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A category with two training images, one good test image and one with a red spot."""
    root = tmp_path / "tile"
    for name in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
        (root / name).mkdir(parents=True)
    for seed, name in enumerate(("train/good/000", "train/good/001", "test/good/000")):
        Image.fromarray(texture(seed)).save(root / f"{name}.png")
    spotted, mask = texture(9), np.zeros((32, 40), np.uint8)
    spotted[SPOT], mask[SPOT] = (230, 40, 40), 255
    mask[2, 2] = 255
    Image.fromarray(spotted).save(root / "test/spot/000.png")
    Image.fromarray(mask).save(root / "ground_truth/spot/000_mask.png")
    return root


def test_a_folder_in_the_layout_of_mvtec(folder):
    found = read_category(folder, 256)
    assert (found.name, len(found.train)) == ("tile", 2)
    good, spot = found.test
    assert (good.kind, spot.kind) == ("good", "spot")
    assert (good.label == -1).all()
    assert spot.label.unique().tolist() == [-1, 0, 1]
    assert (spot.label[SPOT] == 1).all() and spot.label[2, 2] == 0
    assert (
        read_category(folder, 20).test[1].image.shape[2:] == (16, 20) == read_category(folder, 20).test[1].label.shape
    )
    text = table([found], {SELF: lambda image: image[0, 0] - image[0, 1]})
    assert "| tile | 1.00 |" in text and "| spot |" in text
    (folder / "ground_truth/spot/000_mask.png").unlink()
    with pytest.raises(FileNotFoundError, match="has no mask"):
        read_category(folder, 256)
    with pytest.raises(FileNotFoundError, match="has no images"):
        read_category(folder / "train", 256)


@pytest.mark.parametrize("detector", ["rx", "vgg", "reference"])
def test_a_spot_is_found_by_each_detector(folder, detector):
    found = read_category(folder, 256)
    made = {"rx": rx, "vgg": sorted_features, "reference": Reference(found.train, CrossFit(keys=500))}[detector]
    values = made(found.test[1].image)
    assert values.shape == (32, 40)
    spot = torch.zeros(32, 40, dtype=torch.bool)
    spot[SPOT] = True
    assert auroc(values[spot], values[~spot]) > 0.9


def test_each_method_has_a_row_with_its_clean_images_in_its_own_unit(folder):
    found = read_category(folder, 24)
    tiny = {"max_size": 24, "min_size": 12, "iterations": 3, "langevin_steps": 2, "step_size": 0.2}
    text = table_of_methods([found, Category("no clean image")], ["multigrid", "convnet"], tiny)
    rows = [line.split("|")[1:-1] for line in text.splitlines()[2:]]
    assert [(row[0].strip(), row[1].strip()) for row in rows] == [("tile", "multigrid"), ("tile", "convnet")]
    for row in rows:
        image_auroc, pixel_auroc, aupro, median, high, _ = (float(cell) for cell in row[2:])
        assert all(0 <= share <= 1 for share in (image_auroc, pixel_auroc, aupro))
        assert 0 < median < high < 20
    detector = MethodEnergy("convnet", found.train[0], tiny)
    assert detector(found.test[1].image).shape == detector.model.sizes[detector.model.learned - 1]


def test_rx_is_the_distance_of_mahalanobis():
    image = torch.rand(1, 4, 6, 7, generator=torch.Generator().manual_seed(0))
    pixels = image[0].flatten(1).double()
    inverse = torch.linalg.inv(torch.cov(pixels, correction=0))
    off = pixels[:, 11] - pixels.mean(1)
    assert float(rx(image).flatten()[11]) == pytest.approx(float(off @ inverse @ off), rel=1e-3)


def test_made_cases_have_their_defect_where_the_label_says():
    for category in categories():
        assert category.train and any(case.kind == "good" for case in category.test)
        for case in category.test:
            assert case.image.shape[2:] == case.label.shape == (SIDE, SIDE)
            assert bool((case.label >= 0).any()) == (case.kind != "good")
            assert case.image.abs().max() <= 1
    assert case.image.shape[1] == 5
