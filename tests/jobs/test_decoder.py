"""Decoding in a process of its own: what it does to an image costs no other image, and no worker."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from pgcn_jobs.common.failures import InputError
from pgcn_jobs.images import decoder
from pgcn_jobs.images.convert import decode
from pgcn_jobs.images.decoder import Decoder
from tests.jobs.test_pixels import bomb, real_files, saved

GOOD = saved(Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)), "PNG")

# A child as ours, whose decoder has the holes that a hostile file would look for.
HOLES = """
import os, signal, sys, time
from pgcn_jobs.images import decode_child
decode, seen = decode_child.decode, []
def holed(data, name, **how):
    seen.append(data)
    if data.startswith(b"CRASH") or (data.startswith(b"HURT") and len(seen) > 1):
        os.kill(os.getpid(), signal.SIGSEGV)
    while data.startswith(b"SPIN"):
        pass
    if data.startswith(b"SLEEP"):
        time.sleep(600)
    if data.startswith(b"LIE"):
        decode_child.write_frame(sys.stdout.buffer, {"format": "PNG", "mode": "RGB", "note": None,
                                                     "width": 10**6, "height": 30}, b"123")
    return decode(data.removeprefix(b"HURT"), name, **how)
decode_child.decode = holed
decode_child.main(*map(int, sys.argv[1:]))
"""


@pytest.fixture
def decode_apart():
    made = Decoder(cpu_s=1, wall_s=20.0)
    yield made
    made.close()


@pytest.fixture
def holed(monkeypatch, decode_apart):
    monkeypatch.setattr(decoder, "CHILD", ["-P", "-c", HOLES])
    return decode_apart


def pid_of(some: Decoder) -> int:
    return some._child.pid


def why(some: Decoder, data: bytes, **how) -> str:
    with pytest.raises(InputError) as caught:
        some.decode(data, "x.png", **how)
    return str(caught.value)


def test_one_child_decodes_as_this_process_would(decode_apart):
    decode_apart.decode(GOOD, "good")
    first = pid_of(decode_apart)
    for kind, data in real_files().items():
        here, there, seen = decode(data, kind), decode_apart.decode(data, kind), decode_apart.look(data, kind)
        np.testing.assert_array_equal(there.rgb, here.rgb)
        assert (there.format, there.mode, there.note) == (here.format, here.mode, here.note)
        assert (seen.format, seen.height, seen.width, 3) == (here.format, *here.rgb.shape)
    assert "is a web page" in why(decode_apart, b"<html>")
    assert "each side must have at least 40" in why(decode_apart, GOOD, min_side=40)
    assert "more than 100 pixels" in why(decode_apart, GOOD, max_pixels=100)
    assert pid_of(decode_apart) == first


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"CRASH", "crashes the decoder"),
        (b"SPIN", "takes too long to decode"),
        (b"LIE", "crashes the decoder"),
    ],
)
def test_a_file_that_ends_its_decoder_costs_only_itself(holed, data, says):
    assert why(holed, data).startswith(f"x.png {says}")
    assert holed.decode(GOOD, "good").rgb.shape == (20, 30, 3)


def test_a_decoder_that_sleeps_is_killed(holed):
    holed._ready()
    holed._wall_s = 0.5
    assert "takes too long to decode" in why(holed, b"SLEEP")


def test_what_an_earlier_file_broke_is_not_a_later_ones_fault(holed):
    holed.decode(GOOD, "good")
    first = pid_of(holed)
    assert holed.decode(b"HURT" + GOOD, "hurt").rgb.shape == (20, 30, 3)
    assert pid_of(holed) != first


def test_a_killed_child_is_replaced(decode_apart):
    decode_apart.decode(GOOD, "good")
    os.kill(pid_of(decode_apart), signal.SIGKILL)
    assert decode_apart.decode(GOOD, "good").rgb.shape == (20, 30, 3)


def test_memory_has_a_limit_and_large_children_retire():
    """A picture of one bit a pixel: 25 KB of file, and some hundred MB on the way to RGB."""
    data = saved(Image.new("1", (7000, 7000)), "PNG")
    assert len(data) < 100_000
    small, large = Decoder(memory=400 * 2**20), Decoder()
    assert why(small, data).startswith("x.png needs more memory to decode than one image may take")
    assert small.decode(GOOD, "good").rgb.shape == (20, 30, 3)
    small.close()
    assert large.look(data, "x.png").width == 7000
    assert large._child.wait(20) == 0
    assert large.decode(GOOD, "good").rgb.shape == (20, 30, 3)
    large.close()


def test_a_child_is_not_charged_for_its_parents_memory():
    """A worker that has trained is large; Linux counts that in `ru_maxrss` of the processes that it starts."""
    code = (
        "import sys; from pgcn_jobs.images.decoder import shared\n"
        "held = bytearray(b'x') * (600 * 2**20)\n"
        "data, children = sys.stdin.buffer.read(), set()\n"
        "for _ in range(3): shared.decode(data, 'good'); children.add(shared._child.pid)\n"
        "print(len(children))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=GOOD, capture_output=True, check=True)
    assert done.stdout == b"1\n"


def many_frames(kind: str, count: int) -> bytes:
    """A GIF or TIFF of so many frames, a few bytes each."""
    image = Image.new("L", (12, 12))
    if kind == "GIF":
        once = saved(image, "GIF", save_all=True, append_images=[Image.new("L", (12, 12), 9)])
        start = once.rindex(b"\x21\xf9")
        return once[:start] + once[start:-1] * count + b";"
    head, entry = b"II*\0" + struct.pack("<I", 8), struct.pack("<HHII", 256, 4, 1, 12)
    tags = [(256, 12), (257, 12), (258, 8), (259, 1), (262, 1), (273, 8 + 102 * count), (277, 1), (279, 144)]
    length = 2 + 12 * len(tags) + 4
    frame = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    assert len(frame) + 4 == length == 102
    frames = [frame + struct.pack("<I", 8 + length * (n + 1) if n + 1 < count else 0) for n in range(count)]
    assert entry in frame
    return head + b"".join(frames) + bytes(144)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_files_of_very_many_frames_are_read_or_refused(decode_apart, kind):
    few = decode_apart.look(many_frames(kind, 3), "x")
    assert few.note is not None and few.note.startswith("first of ")
    try:
        assert "frames" in (decode_apart.look(many_frames(kind, 50_000), "x").note or "")
    except InputError as error:
        assert "takes too long" in str(error)


def test_bombs_are_refused_there_too(decode_apart):
    for data in (bomb(60_000, 60_000), bomb(8001, 8000), bomb(2**31 - 1, 2**31 - 1), GOOD[:60], GOOD[: len(GOOD) // 2]):
        assert why(decode_apart, data).startswith("x.png ")
    assert decode_apart.decode(GOOD, "good").format == "PNG"


def test_a_child_knows_no_secret_and_ends_with_its_parent(tmp_path):
    """The parent is killed: nothing of it can close anything."""
    code = (
        "import time; from pgcn_jobs.images.decoder import shared; from pathlib import Path\n"
        f"shared.decode(Path({str(tmp_path / 'good.png')!r}).read_bytes(), 'good')\n"
        "print(shared._child.pid, flush=True); time.sleep(600)"
    )
    (tmp_path / "good.png").write_bytes(GOOD)
    env = {**os.environ, "AWS_SECRET_ACCESS_KEY": "planted-secret-123"}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
    child = psutil.Process(int(parent.stdout.readline()))
    assert b"planted" not in "".join(f"{k}={v}" for k, v in child.environ().items()).encode()
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_child_imports_nothing_heavy():
    heavy = "{'torch', 'ray', 'pyarrow', 'fsspec', 'pydantic'}"
    code = f"import sys, pgcn_jobs.images.decode_child; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
