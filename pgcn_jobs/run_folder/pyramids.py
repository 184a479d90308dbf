"""Storage of trained pyramids by identity, so that none is trained twice: in a folder, or committed in a run.

A folder has `pyramids/<id>/scale-<s>.safetensors`; <id> is the hash of image, settings, seed, algorithm and the mask
left out of the loss. A run stores its pyramids with its jobs, whose identities also cover samples: the manifest gives
the job that trained each pyramid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from pgcn.fit import fit
from pgcn.imaging.channels import Image
from pgcn.method import DivergenceError, Model, Progress
from pgcn.method_settings import MethodSettings
from pgcn.methods import MethodError, load_model
from pgcn_jobs import layout
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.concurrent_map import concurrent_map
from pgcn_jobs.common.failures import PyramidError
from pgcn_jobs.run_folder.commit import Commit, committed, read_artifact, read_commit
from pgcn_jobs.run_folder.manifest import read_manifest
from pgcn_jobs.spec import PyramidRef, another_try
from pgcn_jobs.storage.store import Store
from pgcn_jobs.storage.urls import is_local, local_path


def find_kept(store: Store, name: str) -> Model | None:
    """The pyramid of this identity in a folder of pyramids; None if it is missing or damaged."""
    paths = layout.matching(layout.PYRAMID_FILE, store.list(layout.pyramid_folder(name)))
    files = {path.rsplit("/", 1)[-1]: store.get(path) for path in paths}
    try:
        return load_model(files) if files else None
    except ValueError:
        return None


def keep(store: Store, name: str, pyramid: Model) -> None:
    """Store a pyramid for `find_kept`. The coarsest scale, which names the others, is written last."""
    for file, data in sorted(pyramid.to_files().items(), reverse=True):
        store.put(f"{layout.pyramid_folder(name)}/{file}", data)


def learn(
    image: Tensor | Image,
    mask: Tensor | None,
    settings: MethodSettings,
    seed: int,
    device: str = "cpu",
    on_progress: Callable[[Progress], None] | None = None,
) -> Model:
    """Train on an image, with the pixels of `mask` left out of the loss.

    After a divergence, one retry follows with another seed and the method's remedy, as in a run. Raises
    `DivergenceError` if the retry diverges too.
    """
    train = partial[Model](fit, image, mask=mask, device=device, on_progress=on_progress)
    try:
        return train(seed=seed, settings=settings)
    except DivergenceError:
        seed, settings = another_try(seed, settings)
        return train(seed=seed, settings=settings)


def any_of_image(store: Store, sha256: str) -> PyramidRef | None:
    """The first pyramid without a mask of the image with this hash in a run, of any settings and seed."""
    done = committed(store)
    for entry in sorted(read_manifest(store).values(), key=lambda entry: entry.image_id):
        if entry.sha256 == sha256 and entry.holes is None and entry.job_id in done:
            return _at(store, entry.pyramid, entry.job_id)
    return None


def pyramids_in(store: Store) -> dict[str, PyramidRef]:
    """All pyramids in a run or in a folder of `pgcn apply`, by identity."""
    # The coarsest scale is written last: without it, a pyramid is incomplete.
    kept = layout.matching(layout.PYRAMID_FILE, store.list("pyramids"))
    whole = [path.split("/")[1] for path in kept if path.endswith("/scale-0.safetensors")]
    found = {name: _at(store, name) for name in whole}
    done = committed(store)
    for entry in read_manifest(store).values():
        if entry.job_id in done:
            found[entry.pyramid] = _at(store, entry.pyramid, entry.job_id)
    return found


def _at(store: Store, name: str, job_id: str | None = None) -> PyramidRef:
    # A run may be shared: its records name no folder of the machine that made it.
    run = local_path(store.url).name if is_local(store.url) else store.url
    return PyramidRef(name=name, location=store.location, run=run, job_id=job_id)


def load(at: PyramidRef, own: Store) -> Model:
    """The pyramid of a reference; `own` is the job's own run. Raises `PyramidError` if it is missing or damaged."""
    store = own if at.location is None else Store(at.location)
    run = at.run or own.url
    try:
        if at.job_id is None:
            pyramid = find_kept(store, at.name)
        else:
            commit = read_commit(store, at.job_id)
            pyramid = None if commit is None else load_model(weight_files(store, commit))
    except MethodError as error:
        raise PyramidError(f"The pyramid in {run} cannot be used here. {error}", code=Code.METHOD_UNKNOWN) from None
    except (ValueError, FileNotFoundError) as error:
        reason = str(error).rstrip(".")
        raise PyramidError(
            f"The pyramid in {run} is damaged: {reason}. `pgcn verify --repair` mends it.", code=Code.PYRAMID_DAMAGED
        ) from None
    if pyramid is None:
        what = "`pgcn verify --repair` there, and the same command trains it again" if at.job_id else "Train it again"
        raise PyramidError(f"The pyramid {at.name} is not in {run}, or damaged. {what}.", code=Code.PYRAMID_MISSING)
    return pyramid


def weight_files(store: Store, commit: Commit) -> dict[str, bytes]:
    """The safetensors files that a commit names, by file name, each checked against its hash."""
    named = [a for a in commit.artifacts if layout.WEIGHTS.fullmatch(a.path)]
    data = concurrent_map(lambda artifact: read_artifact(store, artifact), named)
    return {artifact.path.rsplit("/", 1)[-1]: one for artifact, one in zip(named, data, strict=True)}
