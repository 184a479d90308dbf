"""The kernels for GPUs find and draw what plain PyTorch does: in Triton's interpreter where there is no GPU."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed: the kernels for GPUs are not tested here")

import triton
import triton.language as tl

from pgcn.exact import DetailSettings, ExactDetail, candidates, draw, plain
from pgcn.exact import triton_kernels as fused
from pgcn.exact.candidates import Queries, improve
from pgcn.exact.field import Field
from pgcn.exact.patches import float32_convolutions, patches_of
from pgcn.imaging.scales import resize

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SETTINGS = DetailSettings(patch=7, components=12, completeness=0.01, coherence=0.4)


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """The interpreter runs programs one after the other, in Python."""
    if DEVICE == "cpu":
        monkeypatch.setattr(fused, "GAPS", 2**18)
        monkeypatch.setattr(fused, "VALUES", 2**14)


@pytest.fixture
def both(monkeypatch):
    """The results of a call by the kernels, and by plain PyTorch."""

    def results(call):
        found = []
        for by_kernels in (True, False):
            for module in (candidates, draw):
                monkeypatch.setattr(module, "is_fused", lambda _, chosen=by_kernels: chosen)
                monkeypatch.setattr(module, "compiled", lambda _: False)
            found.append(call())
        return found

    return results


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def image(height, width, channels=3, seed=0):
    return resize(random(1, channels, 9, 9, seed=seed) * 2 - 1, (height, width)).contiguous()


def left(height, width, columns):
    return (torch.arange(width, device=DEVICE) < columns).float().expand(1, 1, height, width)


def any_field(size, of, top):
    return Field((random(*size, top) * of[0] * of[1]).int(), (random(*size, top, seed=1) * 0.05).sort(2).values)


@triton.jit
def _mixed(out, positions, seed, number, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    position = tl.load(positions + at).to(tl.uint32)
    found = fused.mixed(seed.to(tl.uint32), position, tl.full((COUNT,), number, tl.uint32))
    tl.store(out + at, found.to(tl.int64))


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_random_numbers_are_the_same(seed):
    positions = torch.tensor([0, 1, 77, 2**20, 2**28, 5, 6, 7], device=DEVICE)
    out = torch.empty_like(positions)
    _mixed[(1,)](out, positions, seed - (seed >> 31 << 32), 3, COUNT=8)
    assert torch.equal(out, plain.mixed(seed, positions, 3))


@pytest.mark.parametrize(
    ("size", "of", "components", "top", "wrap", "known"),
    [
        ((19, 28), (22, 25), 12, 2, False, False),
        ((19, 28), (22, 25), 40, 2, True, True),  # more components than are compared at once
        ((20, 24), (22, 25), 32, 3, False, True),
        ((3, 5), (22, 25), 12, 1, True, False),  # neighbours at a distance of more than the picture
        ((6, 4), (1, 2), 12, 3, False, False),  # fewer patches than matches
    ],
)
def test_search_finds_what_plain_search_finds(both, size, of, components, top, wrap, known):
    patches = patches_of(image(*of), 7, components, left(*of, 14) if known else None)
    y = 0.7 * image(*size, seed=1) + 0.6 * random(1, 3, *size, seed=2)
    field, least = any_field(size, of, top), torch.full((of[0] * of[1],), 0.01, device=DEVICE)
    settings = dataclasses.replace(SETTINGS, band=400)

    def search():
        found = field.copy()
        return found, improve(Queries(patches, y, 0.7, wrap, settings.band), found, settings, 2**32 - 1, least)

    (ours, our_least), (theirs, their_least) = both(search)
    assert float((ours.index == theirs.index).float().mean()) > 0.995  # near ties may be decided by rounding
    torch.testing.assert_close(ours.cost, theirs.cost, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(our_least, their_least, rtol=1e-4, atol=1e-7)
    assert not torch.equal(ours.index, field.index)


@pytest.mark.parametrize(
    ("size", "channels", "top", "wrap"), [((17, 21), 3, 2, True), ((12, 9), 5, 3, False), ((2, 4), 1, 1, True)]
)
def test_drawing_draws_what_plain_drawing_draws(both, size, channels, top, wrap):
    patches = patches_of(image(18, 20, channels), 9, 16)
    field = any_field(size, (18, 20), top)
    ours, theirs = both(lambda: draw.drawn(patches, DetailSettings(patch=9, band=100), field, 0.5, wrap))
    assert ours.shape == (1, channels, *size)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "sizes", "wrap", "known"),
    [
        (3, [(12, 10), (24, 20)], False, False),
        (1, [(5, 6), (10, 12)], True, False),  # smaller than a patch
        (5, [(8, 14), (16, 28)], False, True),
    ],
)
def test_pictures_are_those_of_plain_pytorch(both, channels, sizes, wrap, known):
    known = left(24, 20, 12) if known else None
    settings = dataclasses.replace(SETTINGS, steps=2 if channels == 3 else 1, settle=0, passes=1)
    exact = ExactDetail(image(24, 20, channels), [(12, 10), (24, 20)], settings, known)
    ours, theirs = both(lambda: list(exact.draw(image(6, 5, channels), sizes, [1], wrap=wrap))[-1])
    assert ours.picture.shape == (1, channels, *sizes[-1])
    # The last step, at t = 0.02, multiplies differences of costs by 10⁵.
    torch.testing.assert_close(ours.picture, theirs.picture, rtol=0, atol=2e-3)
    if known is not None:
        assert int(ours.fields[0].sources((24, 20))[1].max()) < 12


def test_convolutions_take_tf32_again_after_an_error():
    convolution = torch.backends.cudnn.conv
    before = convolution.fp32_precision
    with pytest.raises(KeyError), float32_convolutions():
        assert convolution.fp32_precision == "ieee"
        raise KeyError
    assert convolution.fp32_precision == before


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from pgcn.exact import triton_kernels as fused

POINTERS = {
    **dict.fromkeys(("queries", "keys", "least", "new_cost", "weight", "drawable", "window", "out"), "*fp32"),
    **dict.fromkeys(("field", "new_least", "jumps", "new_field", "start"), "*i32"), "snap": "*i64",
    **dict.fromkeys(("alpha", "completeness", "coherence", "tie", "scale"), "fp32"),
}
SEARCH = dict(LENGTH=32, PART=32, TOP=2, JUMPS=12, RANDOM=2, POSITIONS=8, ROOM=16, WRAP=False, SNAP=True)
DRAW = dict(CHANNELS=3, SIDE=7, TOP=2, VALUES=128, WRAP=True)
for kernel, constants in ((fused._search, SEARCH), (fused._draw, DRAW)):
    types = {name: "constexpr" if name in constants else POINTERS.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    print(len(triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]) > 0)
"""


def test_kernels_compile_for_a_gpu(tmp_path, monkeypatch):
    """The interpreter accepts more than the compiler. No GPU is needed to compile for one."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=120, cwd=root)
    assert found.stdout == "True\nTrue\n", found.stderr
