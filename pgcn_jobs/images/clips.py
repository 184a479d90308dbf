"""Encoding of animations: WebP and GIF with Pillow, MP4 with ffmpeg, of the system or of `pgcn[clips]`."""

from __future__ import annotations

import importlib
import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pgcn_jobs.images.convert import RGB

FRAME_MS = 80


def encode_clip(frames: Sequence[RGB], kind: str) -> bytes:
    """Frames `(H, W, 3)` uint8 as an endless animation of 12.5 frames a second; `kind` is WEBP (lossless) or GIF."""
    sink = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    how = {"lossless": True} if kind == "WEBP" else {}
    first.save(sink, kind, save_all=True, append_images=others, duration=FRAME_MS, loop=0, **how)
    return sink.getvalue()


def _ffmpeg() -> str | None:
    """The path of the system's ffmpeg, else of the one in the package imageio-ffmpeg."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def encode_mp4(frames: Sequence[RGB]) -> bytes | None:
    """Frames `(H, W, 3)` uint8 as an MP4 (H.264) of 12.5 frames a second; None without ffmpeg or its H.264 encoder."""
    program = _ffmpeg()
    if program is None:
        return None
    # H.264 requires even sides: an odd side is padded with a copy of its last line of pixels.
    frames = [np.pad(frame, [(0, n % 2) for n in frame.shape[:2]] + [(0, 0)], mode="edge") for frame in frames]
    height, width = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        command = [program, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", f"{1000 / FRAME_MS:g}", "-i", "-"]
        command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-y", str(file)]
        done = subprocess.run(  # noqa: S603 - ffmpeg, and our own numbers
            command, input=b"".join(frame.tobytes() for frame in frames), capture_output=True, check=False
        )
        return file.read_bytes() if done.returncode == 0 else None
