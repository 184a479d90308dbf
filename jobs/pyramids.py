"""Trained pyramids by what decides them, so that none is trained twice: kept in a folder, or committed in a run.

`PLACE/pyramids/<id>/scale-<s>.safetensors`, where <id> says image, settings, seed, algorithm, and the holes that were
left out of the loss. A run keeps its pyramids with its jobs, whose samples are part of their names: there the
manifest tells which jobs are of the same image, settings and seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial

from torch import Tensor

from jobs.ahead import ahead
from jobs.commit import Commit, committed, read_artifact, read_commit
from jobs.manifest import read_manifest
from jobs.spec import another_try
from jobs.store import Store
from pgcn.masked import fit_masked
from pgcn.model import ALGORITHM, Pyramid, fit
from pgcn.settings import Settings
from pgcn.train import DivergenceError, Progress


def pyramid_id(sha256: str, settings: Settings, seed: int, holes: str | None = None) -> str:
    """A pyramid's name: 20 hex digits of what decides it. `holes` is the hash of the mask that is left out, if any."""
    decides = {
        "algorithm": ALGORITHM,
        "image": sha256,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "holes": holes,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:20]


def find_kept(store: Store, name: str) -> Pyramid | None:
    """The pyramid of this name in a folder of pyramids; None where there is none, or it is damaged."""
    files = {path.rsplit("/", 1)[-1]: store.get(path) for path in store.list(f"pyramids/{name}")}
    try:
        return Pyramid.from_files(files) if files else None
    except ValueError:
        return None


def keep(store: Store, name: str, pyramid: Pyramid) -> None:
    """Put a pyramid where `find_kept` finds it. The coarsest scale, which names the others, comes last."""
    for file, data in sorted(pyramid.to_files().items(), reverse=True):
        store.put(f"pyramids/{name}/{file}", data)


def learn(
    image: Tensor,
    mask: Tensor | None,
    settings: Settings,
    seed: int,
    device: str = "cpu",
    on_progress: Callable[[Progress], None] | None = None,
) -> Pyramid:
    """Train on an image, its holes left out. A training that diverges is tried once more, as a run does: `reseeded`.

    Raises `DivergenceError` where that diverges too.
    """
    train = fit if mask is None else partial(fit_masked, mask=mask)
    try:
        return train(image, seed=seed, settings=settings, device=device, on_progress=on_progress)
    except DivergenceError:
        seed, settings = another_try(seed, settings)
        return train(image, seed=seed, settings=settings, device=device, on_progress=on_progress)


def find_in_run(store: Store, sha256: str, settings: Settings | None, seed: int | None) -> Pyramid | None:
    """The pyramid of the image with these bytes in a run, with these settings and this seed, or (None) any.

    None where there is no such image, or it is not trained. Raises `ValueError` where its files are damaged.
    """
    done = committed(store)
    for entry in sorted(read_manifest(store).values(), key=lambda entry: entry.image_id):
        if entry.sha256 != sha256 or entry.job_id not in done:
            continue
        if settings is not None and Settings.model_validate_json(entry.settings) != settings:
            continue
        commit = read_commit(store, entry.job_id) if seed is None or entry.seed == seed else None
        if commit is not None:
            return Pyramid.from_files(weight_files(store, commit))
    return None


def weight_files(store: Store, commit: Commit) -> dict[str, bytes]:
    """The safetensors objects that a commit names, each checked against its hash."""
    named = [a for a in commit.artifacts if a.path.endswith(".safetensors")]
    data = ahead(lambda artifact: read_artifact(store, artifact), named)
    return {artifact.path.rsplit("/", 1)[-1]: one for artifact, one in zip(named, data, strict=True)}
