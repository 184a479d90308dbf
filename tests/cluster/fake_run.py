"""A run as the gatherer leaves it, with pictures but without training: tables, artifacts, and odd names."""

from __future__ import annotations

import hashlib
import io
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pgcn_jobs.common.failures import FailureClass
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.storage.store import Store

EXAMPLES = Path(__file__).parents[2] / "examples" / "images"

HOSTILE = [
    "../../etc/passwd.png",
    "<script>document.title='owned'</script>.png",
    "</script><img src=x onerror=document.title='owned'>.png",
    "quote\"and'apostrophe & ampersand.png",
    "two\nlines\tand a tab.png",
    "right-to-left \u202egnp\u2066 and hidden\u200b and \x1b[31mred.exe",
    "{name} $& {{ 7*7 }}.png",
    "-n 3.png",
    "a very long name " + "without-any-place-to-break" * 7 + ".png",
    "猫 😀 é e\u0301.png",
]
# One file twice under two names: one job.
TWINS = ("twins/first.png", "twins/second.png")
ATTEMPT = "20260301T120000-abc123"
SIDES = (96, 250, 64, 180, 48, 120)


def job_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:20]


def result(name: str, place: int = 0, **changed: Any) -> dict[str, Any]:
    """A row of the results: metrics that differ from image to image, some of them missing."""
    return {
        "image_id": name,
        "uri": f"images/{name}",
        "job_id": job_of(name),
        "attempt": ATTEMPT,
        "preset": "small",
        "seed": 7,
        "width": 96,
        "height": 72,
        "scales": 5,
        "iterations": 4120,
        "parameters": 195205,
        "samples": 6,
        "frechet_vgg22": 0.11,
        "frechet_vgg33": None if place % 41 == 40 else 0.021 + 0.0007 * (place * 37 % 97),
        "coherence_256": 0.02,
        "detail": 0.9,
        "largest_piece": (place * 53 % 101) / 150,
        "mean_piece": 0.03,
        "in_place": (place * 31 % 89) / 120,
        "layout_diversity": 0.1 + (place * 23 % 79) / 120,
        "copy": (place * 53 % 101) / 150,
        "diversity": 0.4 + (place * 29 % 83) / 120,
        "recovery_error": 0.0123,
        "warning": "Samples are nearly copies of the image: 63 % is in place." if place % 17 == 3 else None,
        "note": "Gray, copied to three channels." if place % 9 == 1 else None,
        "wall_s": 44.0 + place,
        "train_s": 3.25 + place * 71 % 9000,
        "resumes": place % 3,
        "peak_memory_mb": 812.4,
        "device": "cpu",
        "algorithm": "patchgencn-1",
        "pgcn_version": "0.1.0",
        "torch_version": "2.13.0",
        "settings": json.dumps({"max_size": 96, "step_size": 0.01, "noise": "annealed", "chains": 4}),
        "committed_at": f"2026-03-{1 + place % 28:02d}T{place % 24:02d}:15:00Z",
        **changed,
    }


def failure(name: str, kind: FailureClass, message: str, **changed: Any) -> dict[str, Any]:
    return {
        "image_id": name,
        "job_id": job_of(name),
        "attempt": ATTEMPT,
        "failure": kind,
        "final": True,
        "message": message,
        "traceback": "Traceback (most recent call last): …",
        "failed_at": "2026-03-02T08:30:00Z",
        **changed,
    }


def write_table(store: Store, name: str, rows: list[dict[str, Any]]) -> None:
    data = schemas.parquet_bytes(schemas.table(rows, schemas.TABLES[name]))
    store.put(f"tables/{name}/part-00000.parquet", data)


def write_attempt(store: Store, name: str, place: int = 0, *, whole: bool = True) -> None:
    """The artifacts of one job; not `whole`, only what the index shows, which is soon drawn."""
    job_id = job_of(name)
    folder = f"attempts/{job_id}/{ATTEMPT}"
    shown = pictures(place % 12 if whole else 4)
    kept = shown if whole else [row for row in shown if row["scale"] == 4 and row["index"] == 0]
    samples = [{**row, "job_id": job_id} for row in kept]
    metrics = [{**row, "job_id": job_id} for row in curves(400 if whole else 4)]
    store.put(f"{folder}/samples.parquet", schemas.parquet_bytes(schemas.table(samples, schemas.SAMPLES)))
    store.put(f"{folder}/metrics.parquet", schemas.parquet_bytes(schemas.table(metrics, schemas.METRICS)))
    store.put(f"{folder}/scale-0.safetensors", bytes(1536))
    store.put(f"{folder}/log.txt", b"done\n")


def write_run(store: Store, images: int = 130, whole: int = 16) -> list[str]:
    """A run with `images` finished images, eight failed ones and two that wait; returns the finished names.

    The first `whole` of them have every picture that a real job has.
    """
    plain = [f"flowers/flower-{i}.png" for i in range(1, images - len(HOSTILE) - 1)]
    names = [*HOSTILE, *plain, *TWINS]
    rows = [result(name, i) for i, name in enumerate(names[:-1])]
    for i, name in enumerate(names[:-1]):
        write_attempt(store, name, i, whole=i < whole)
    failures = [
        failure("bad/empty.png", FailureClass.INPUT, "bad/empty.png holds no bytes; copy it again."),
        failure(
            "bad/<b>bold</b>.png",
            FailureClass.INPUT,
            "bad/<b>bold</b>.png is no picture\nthat we know.<img src=x onerror=document.title='owned'>\u202e",
        ),
        failure("flat.png", FailureClass.NUMERIC, "Training diverged (scale 2, iteration 310): recovery error 2.41."),
        failure("huge.tif", FailureClass.HOST_OOM, "The worker used more memory than its share, twice."),
        failure("lost.png", FailureClass.WORKER_LOST, "The worker's process ended without a word, four times."),
        failure("odd.png", FailureClass.BUG, "ValueError: cannot reshape array."),
        failure("later.png", "FROM_THE_FUTURE", "A reason that only a later version knows."),
        # Failed first, done in the end; and failed, with an attempt still to come.
        failure(plain[0], FailureClass.TIMEOUT, "Silent for 300 s.", final=True),
        failure("waiting-1.png", FailureClass.PREEMPTED, "The machine was taken away.", final=False),
    ]
    manifest = [{"image_id": name, "job_id": job_of(name)} for name in names[:-1]]
    manifest.append({"image_id": TWINS[1], "job_id": job_of(TWINS[0])})
    unfinished = [row for row in failures if row["image_id"] not in names]
    manifest += [{"image_id": row["image_id"], "job_id": row["job_id"]} for row in unfinished]
    manifest.append({"image_id": "waiting-2.png", "job_id": job_of("waiting-2.png")})
    manifest.append({"image_id": "refused.gif", "job_id": None, "problem": "refused.gif has 3 frames; keep one."})
    write_table(store, "results", rows)
    write_table(store, "failures", failures)
    write_table(store, "manifest", manifest)
    store.put("run.json", json.dumps({"settings": {"preset": "small"}, "versions": {"pgcn": "0.1.0"}}).encode())
    return names


def write_edit(store: Store, edit_id: str, before: Image.Image, after: Image.Image, **changed: Any) -> dict[str, Any]:
    """One edit of the first twin's model, as a run leaves it; returns its row of the edits."""
    job_id, shown = job_of(edit_id), {"image": before, "before": before, "result": after, "sweep": after}
    rows = [
        {"name": name, "index": 0, "width": image.width, "height": image.height}
        | {"job_id": job_id, "attempt": ATTEMPT, "image": {"bytes": png(image), "path": f"{name}-0.png"}}
        for name, image in shown.items()
    ]
    figures = [{"job_id": job_id, "scale": -1, "iteration": None, "name": "patch_swd", "value": 0.125}]
    folder = f"attempts/{job_id}/{ATTEMPT}"
    store.put(f"{folder}/pictures.parquet", schemas.parquet_bytes(schemas.table(rows, schemas.PICTURES)))
    store.put(f"{folder}/metrics.parquet", schemas.parquet_bytes(schemas.table(figures, schemas.METRICS)))
    row = {"edit_id": edit_id, "image_id": TWINS[0], "uri": TWINS[0], "task": "style", "job_id": job_id}
    row |= {"attempt": ATTEMPT, "pyramid_job": job_of(TWINS[0]), "options": json.dumps({"seed": 3}), "wall_s": 1.5}
    row |= {
        "metric": "patch_swd",
        "value": 0.125,
        "baseline": 0.5,
        "better": True,
        "committed_at": "2026-03-02T08:30:00Z",
    }
    return row | {"width": after.width, "height": after.height, "pictures": 1} | changed


@cache
def pictures(variant: int) -> list[dict[str, Any]]:
    """Rows of SAMPLES without their job: an image's pyramid, and collages of its pieces as samples."""
    image = _image(variant)
    image.thumbnail((SIDES[variant % len(SIDES)],) * 2, Image.Resampling.LANCZOS)
    width, height = image.size
    rows = []
    for scale in range(5):
        share = (25 / min(width, height)) ** (1 - scale / 4) if min(width, height) > 25 else 1
        small = image.resize((round(width * share), round(height * share)), Image.Resampling.BICUBIC)
        for kind, shown in (("observed", small), ("stage", _collage(small, 0, 1, 1)), ("recovered", small)):
            rows.append(_row(kind, 0, scale, "1x1", shown))
    for index in range(4):
        rows.append(_row("sample", index, 4, "1x1", _collage(image, index, 1, 1)))
    for index in range(2):
        rows.append(_row("sample", index, 4, "2x1", _collage(image, index, 2, 1)))
    return rows


@cache
def curves(iterations: int = 400) -> list[dict[str, Any]]:
    """Rows of METRICS without their job."""
    rows = []
    for scale in range(5):
        for it in range(0, iterations, 2):
            t = it / iterations
            wave = math.sin(it * 1.7 + scale) * 0.1
            for name, value in (
                ("energy_observed", 3 * t + wave + scale),
                ("energy_synthesized", 2.6 * t - wave + scale),
                ("loss", -0.4 * t + 2 * wave),
                ("recovery_error", 0.3 * math.exp(-5 * t) + abs(wave) * 0.05),
                ("synthesized_std", 0.4 + wave / 2),
                ("learning_rate", 4e-4 * (1 - t)),
            ):
                rows.append({"scale": scale, "iteration": it, "name": name, "value": value})
    rows.append({"scale": 2, "iteration": 400, "name": "loss", "value": float("nan")})
    rows.append({"scale": -1, "iteration": None, "name": "edge_density", "value": 0.221})
    return rows


def png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def _row(kind: str, index: int, scale: int, size: str, image: Image.Image) -> dict[str, Any]:
    return {
        "attempt": ATTEMPT,
        "kind": kind,
        "index": index,
        "scale": scale,
        "size": size,
        "width": image.width,
        "height": image.height,
        "seed": index,
        "image": {"bytes": png(image), "path": f"{kind}-{scale}-{index}.png"},
    }


def _image(variant: int) -> Image.Image:
    examples = sorted(EXAMPLES.glob("*.jpg"))
    if examples:
        with Image.open(examples[variant % len(examples)]) as image:
            return image.convert("RGB")
    drawn = Image.new("RGB", (300, 160 + 30 * variant), (40 + 15 * variant, 90, 140))
    pen = ImageDraw.Draw(drawn)
    rng = np.random.default_rng(variant)
    for x, y, radius in rng.integers((0, 0, 8), (300, 300, 40), (60, 3)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(rng.integers(60, 255, 3)))
    return drawn


def _collage(image: Image.Image, seed: int, wide: int, high: int) -> Image.Image:
    """The image's pieces in another place: what a sample looks like from afar."""
    rng = np.random.default_rng(seed)
    pixels = np.tile(np.asarray(image), (high, wide, 1))
    shift = rng.integers(0, (pixels.shape[0] // 3, pixels.shape[1]))
    return Image.fromarray(np.roll(pixels, shift, (0, 1))[:, :: -1 if seed % 2 else 1].copy())
