"""Channels: values in files and tensors, and pyramids of any number of channels."""

import pytest
import torch

import pgcn
from pgcn.imaging.channels import RGB, Channels, ChannelsError, Group, Image, of_tensor
from pgcn.metrics.quality import metrics
from pgcn.patchgencn.energy import EnergyNet, energy_gradient, pad

TINY = {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 3}
LEARNED = pgcn.make_settings("draft", TINY)
EXACT = pgcn.make_settings("draft", {**TINY, "max_size": 40, "learned_size": 16})
ALL = Channels(
    (
        Group("gray", "gray", "uint16", 0, 4095),
        Group("height", "band", "float32", -3.5, 120.25, -9999),
        Group("code", "band", "int32", -(2**20), 2**20),
        Group("normal", "normal", "uint8"),
        Group("class", "label", "uint8", classes=(0, 3, 7)),
        Group("alpha", "alpha", "uint8"),
    )
)


def values(channels, size=(5, 7), seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for group in channels.groups:
        shape = (1, group.stored, *size)
        if group.kind == "label":
            found[group.name] = torch.tensor(group.classes)[
                torch.randint(len(group.classes), shape, generator=generator)
            ]
        else:
            found[group.name] = torch.rand(shape, generator=generator).double() * (group.high - group.low) + group.low
            if group.kind == "normal":
                n = torch.nn.functional.normalize(found[group.name] - (group.high + group.low) / 2, dim=1)
                found[group.name] = (n + 1) / 2 * (group.high - group.low) + group.low
            if group.number != "float32":
                found[group.name] = found[group.name].round()
    return found


def test_values_come_back_exactly():
    given = values(ALL)
    x = ALL.tensor(given)
    assert x.shape == (1, 10, 5, 7) and x.dtype == torch.float32
    assert float(x.min()) >= -1 and float(x.max()) <= 1
    back = ALL.values(x)
    assert given.keys() == back.keys()
    for group in ALL.groups:
        if group.number == "float32":
            torch.testing.assert_close(back[group.name], given[group.name], rtol=0, atol=1e-5)
        else:
            assert torch.equal(back[group.name].long(), given[group.name].long()), group.name


def test_all_65536_levels_are_kept():
    group = Group("gray", "gray", "uint16", 0, 65535)
    levels = torch.arange(65536).view(1, 1, 256, 256)
    assert torch.equal(group.decode(group.encode(levels)).long(), levels)


def test_a_description_is_read_back_from_its_json():
    assert Channels.from_json(ALL.to_json()) == ALL
    assert not ALL.is_rgb and RGB.is_rgb and Channels((Group("picture", "colour"),)).is_rgb
    assert not Channels((Group("colour", "colour", "uint16", 0, 65535),)).is_rgb


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '[{"name": "a"}]', '[{"name": "a", "kind": "smell"}]'])
def test_other_text_is_no_description(text):
    with pytest.raises(ChannelsError):
        Channels.from_json(text)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Group("a", "gray", "uint7"),
        lambda: Group("a", "gray", "uint8", 3, 3),
        lambda: Group("a", "gray", "float32", 0, float("nan")),
        lambda: Group("a", "label"),
        lambda: Group("a", "gray", classes=(1, 2)),
        lambda: Channels((Group("a", "gray"), Group("a", "gray"))),
        lambda: Channels(tuple(Group(f"b{i}", "band") for i in range(300))),
    ],
)
def test_descriptions_that_fit_nothing_are_refused(wrong):
    with pytest.raises(ChannelsError):
        wrong()


def test_display_is_rgb_for_every_kind():
    x = ALL.tensor(values(ALL))
    assert torch.equal(ALL.display(x), x[:, :1].expand(-1, 3, -1, -1)), "gray comes first"
    for group, where in ALL.slices():
        shown = Channels((group,)).display(x[:, where])
        assert shown.shape == (1, 3, 5, 7) and float(shown.abs().max()) <= 1, group.name
    rgb = torch.rand(1, 3, 4, 4)
    assert RGB.display(rgb) is rgb
    bands = torch.rand(1, 5, 4, 4)
    assert torch.equal(of_tensor(bands).display(bands), bands[:, :3])


def texture(channels, size=(40, 48), seed=1):
    small = torch.rand(1, channels, 8, 9, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(small, size=size, mode="bicubic").clamp(-1, 1)


@pytest.mark.parametrize("settings", [LEARNED, EXACT], ids=["learned", "exact"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_pyramid_has_the_channels_of_its_image(count, settings, tmp_path):
    image = texture(count)
    pyramid = pgcn.fit(image, settings=settings)
    assert pyramid.nets[0].kernels[0].shape[2] == count
    samples = pyramid.sample(2, size=(20, 30))
    assert samples.shape == (2, count, 20, 30)
    assert bool(samples.isfinite().all())
    pyramid.save(tmp_path)
    again = pgcn.Pyramid.load(tmp_path)
    assert again.channels == of_tensor(image)
    assert torch.equal(again.sample(2, size=(20, 30)), samples)
    found = metrics(image, pyramid.sample(2), pyramid.channels)
    assert found["frechet_vgg33"] >= 0 and found["coherence_32"] >= 0


def test_exact_scales_keep_more_than_eight_bits():
    """Values near 0 that 8 bits cannot tell apart: samples are made of them, and not of levels."""
    image = texture(1) * 1e-3
    pyramid = pgcn.fit(Image(image, of_tensor(image)), settings=EXACT)
    assert pyramid.exact is not None
    assert float(pyramid.exact.observed()[-1].std()) > 1e-4
    rounded = ((image + 1) * 127.5).round() / 127.5 - 1
    assert float((rounded - image).abs().max()) > 1e-3


def test_a_batch_trains_images_of_several_channels_as_each_alone():
    images = [texture(2, seed=seed) for seed in (1, 2)]
    from pgcn.patchgencn.trainer import Trainer

    def trained(some, seeds):
        trainer = Trainer(some, LEARNED, seeds)
        for _ in trainer.iterations():
            pass
        return trainer

    both = trained(images, [1, 2])
    for i, image in enumerate(images):
        alone = pgcn.Pyramid.trained(trained([image], [i + 1]))
        torch.testing.assert_close(pgcn.Pyramid.trained(both, i).sample(1), alone.sample(1), atol=1e-3, rtol=0)


def test_unknown_pixels_are_left_out_of_training_and_metrics():
    image = texture(3)
    known = torch.ones(1, 1, 40, 48)
    known[..., 10:20, 12:30] = 0
    spoiled = torch.where(known > 0, image, torch.ones_like(image))
    one, other = (pgcn.fit(Image(x, RGB, known), settings=EXACT) for x in (image, spoiled))
    assert torch.equal(one.sample(1), other.sample(1)), "what is in the hole has no influence"
    sample = one.sample(2)
    assert metrics(image, sample, RGB, known) != metrics(image, sample)
    for name, value in metrics(spoiled, sample, RGB, known).items():
        if name.startswith(("coherence_32", "completeness_32", "largest", "mean", "in_place")):
            assert value == pytest.approx(metrics(image, sample, RGB, known)[name], abs=0.02), name


def test_an_image_of_another_number_of_channels_is_refused_in_a_sentence():
    pyramid = pgcn.fit(texture(2), settings=LEARNED)
    with pytest.raises(pgcn.TaskError, match="2"):
        pyramid.apply("superres", texture(3), factor=2)


def test_gray_as_one_channel_is_learned_as_gray_in_three():
    """f of x in one channel is a third of f of three copies, so the gradient of x is that of each copy."""
    one, three = (EnergyNet(wide=False, generators=[torch.Generator().manual_seed(0)], inputs=c) for c in (1, 3))
    with torch.no_grad():
        three.kernels[0].copy_(one.kernels[0].expand(-1, -1, 3, -1, -1) / 3**0.5)
        for layer in range(1, 5):
            three.kernels[layer].copy_(one.kernels[layer])
        for layer in range(4):
            one.biases[layer].normal_(0, 0.1)
            three.biases[layer].copy_(one.biases[layer])
            three.get_buffer(f"u{layer}").copy_(one.get_buffer(f"u{layer}"))
    gray = torch.rand(1, 1, 20, 24) * 2 - 1
    copies = gray.expand(-1, 3, -1, -1)
    gradient = energy_gradient(one.weights(), "float32")(pad(gray))
    of_copies = energy_gradient(three.weights(), "float32")(pad(copies))
    torch.testing.assert_close(gradient.expand(-1, 3, -1, -1), of_copies, rtol=1e-3, atol=2e-8)
