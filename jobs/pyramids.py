"""Trained pyramids by what decides them, so that none is trained twice: kept in a folder, or committed in a run.

`PLACE/pyramids/<id>/scale-<s>.safetensors`, where <id> says image, settings, seed, algorithm, and the holes that were
left out of the loss. A run keeps its pyramids with its jobs, whose samples are part of their names: there the
manifest tells which jobs are of the same image, settings and seed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from jobs.ahead import ahead
from jobs.commit import Commit, committed, read_artifact, read_commit
from jobs.failures import PyramidError
from jobs.manifest import read_manifest
from jobs.spec import PyramidAt, another_try
from jobs.store import Store
from pgcn.masked import fit_masked
from pgcn.model import Pyramid, fit
from pgcn.settings import Settings
from pgcn.train import DivergenceError, Progress


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
        if entry.sha256 != sha256 or entry.job_id not in done or entry.holes is not None:
            continue
        if settings is not None and Settings.model_validate_json(entry.settings) != settings:
            continue
        commit = read_commit(store, entry.job_id) if seed is None or entry.seed == seed else None
        if commit is not None:
            return Pyramid.from_files(weight_files(store, commit))
    return None


def pyramids_in(store: Store) -> dict[str, PyramidAt]:
    """All pyramids that are in a place, a run or a folder of `pgcn apply`, by their names."""
    found = {
        name: PyramidAt(name=name, place=store.url) for name in {path.split("/")[1] for path in store.list("pyramids")}
    }
    done = committed(store)
    for entry in read_manifest(store).values():
        if entry.job_id in done:
            found[entry.pyramid] = PyramidAt(name=entry.pyramid, place=store.url, job_id=entry.job_id)
    return found


def load(at: PyramidAt, own: Store) -> Pyramid:
    """The pyramid at a place; `own` is the run that asks. Raises `PyramidError` where it is not there, or damaged."""
    store = own if at.place is None else Store(at.place)
    try:
        if at.job_id is None:
            pyramid = find_kept(store, at.name)
        else:
            commit = read_commit(store, at.job_id)
            pyramid = None if commit is None else Pyramid.from_files(weight_files(store, commit))
    except (ValueError, FileNotFoundError) as error:
        raise PyramidError(
            f"The pyramid in {store.url} is damaged: {error}. `pgcn verify` finds such, and mends."
        ) from None
    if pyramid is None:
        raise PyramidError(f"The pyramid {at.name} is not in {store.url} any more. The same command trains it again.")
    return pyramid


def weight_files(store: Store, commit: Commit) -> dict[str, bytes]:
    """The safetensors objects that a commit names, each checked against its hash."""
    named = [a for a in commit.artifacts if a.path.endswith(".safetensors")]
    data = ahead(lambda artifact: read_artifact(store, artifact), named)
    return {artifact.path.rsplit("/", 1)[-1]: one for artifact, one in zip(named, data, strict=True)}
