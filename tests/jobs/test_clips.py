"""Clips come back as the frames they were made of."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from pgcn_jobs.images import clips

FRAMES = [np.full((31, 45, 3), level, np.uint8) for level in (20, 120, 220)]


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_a_clip_has_its_frames_and_goes_on_for_ever(kind):
    clip = Image.open(io.BytesIO(clips.encode_clip(FRAMES, kind)))
    assert (clip.n_frames, clip.info["loop"], clip.size) == (3, 0, (45, 31))
    for index, frame in enumerate(FRAMES):
        clip.seek(index)
        assert abs(np.asarray(clip.convert("RGB")).astype(int) - frame).max() <= 1


def test_an_mp4_has_its_frames_at_a_size_that_codecs_take(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(clips.encode_mp4(FRAMES) or b"")
    program = clips._ffmpeg()
    assert program is not None, "the test extra brings one"
    command = [program, "-i", str(tmp_path / "clip.mp4"), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert re.search(rb"h264.* 46x32.* 12.5", done.stderr), "even sides"
    pixels = np.frombuffer(done.stdout, np.uint8).reshape(3, 32, 46, 3)
    assert abs(pixels[:, :31, :45].astype(int) - np.stack(FRAMES)).max() <= 6


def test_without_any_ffmpeg_there_is_no_mp4(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    assert clips.encode_mp4(FRAMES) is None
