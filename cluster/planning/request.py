"""What a command asks for, and every choice that follows from it before an image is read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cluster.planning.device import choose_device, has_bfloat16_units
from cluster.planning.naming import named, settled, with_own_edits
from cluster.planning.plan import Item, Plan, build_plan, check_asked, edits_with_ray, look_at, look_at_edits, with_ray
from cluster.planning.settings_choice import Origin, choose_settings
from cluster.planning.task_request import find, split_task_options, task_of
from cluster.ray_cluster.session import Cluster
from cluster.scheduler.queue import Resources
from cluster.scheduler.stopping import Limits
from jobs.common.concurrent_map import concurrent_map
from jobs.common.failures import ConfigError
from jobs.common.terminal_text import terminal_safe
from jobs.inputs.discover import Source, find_sources, is_list
from jobs.inputs.passed_over import Passed
from jobs.inputs.source import alone
from jobs.layout import RUN, is_ours
from jobs.run_folder.edit_manifest import EditEntry, edit_unchanged, read_edits, superseded
from jobs.run_folder.identity import RunIdentity, check_same, read_identity, require_place
from jobs.run_folder.manifest import Entry, RunDefaults, plan_source, read_manifest, unchanged, under_its_name
from jobs.run_folder.pyramids import pyramids_in
from jobs.spec import PyramidRef, SamplePlan
from jobs.storage.store import Store
from jobs.storage.urls import is_local, local_path, public_url
from pgcn.settings import setting_names

_LIST = re.compile(r"\.(csv|tsv|jsonl|parquet)(\.gz)?$", re.IGNORECASE)
"""Lists of images may lie anywhere: where their images lie is what counts."""

GPU_PARTS = 10_000
"""Ray counts GPUs in such parts, and rounds: six times 0.16667 would be more than one."""


@dataclass(frozen=True)
class Request:
    """What a command asks for. None: as the run has it, or the default."""

    images: list[str]
    out: str
    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    sizes: tuple[str, ...] | None = None
    seed: int | None = None
    limit: int | None = None
    device: str = "auto"
    gpus_per_job: float = 1.0
    cpus_per_job: float = 1.0
    ray_address: str | None = None
    retry: bool = False
    max_pixels: int = 64_000_000
    checkpoint_seconds: float = 60.0
    jobs_per_worker: int = 100
    stack: int = 1
    allow_local: bool = False
    task: str | None = None
    target: str | None = None
    mask: str | None = None
    truth: str | None = None
    pyramids: str | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Prepared:
    """A request with every choice made, and why, as sentences."""

    store: Store
    identity: RunIdentity
    ask: RunDefaults
    sources: list[Source]
    known: dict[str, Entry]
    known_edits: dict[str, EditEntry]
    elsewhere: dict[str, PyramidRef]
    device: str
    need: Resources
    said: list[str]

    def check_belongs(self) -> None:
        """Raises `ConfigError` where the folder holds another run."""
        standing = read_identity(self.store)
        if standing is not None:
            check_same(self.store, standing, self.identity)


def prepare(request: Request, cluster: Cluster) -> Prepared:
    """Make every choice that needs no image. Writes nothing. Raises `JobError` or `pgcn.SettingsError`."""
    store = Store(request.out)
    check_apart(request.images, request.out)
    standing = require_place(store)
    said: list[str] = []
    device = choose_device(request.device, cluster.has_gpu)
    task = find(request.task)
    options, pairs = split_task_options(task, request.overrides)
    other = Store(request.pyramids) if request.pyramids is not None else None
    if other is not None and not other.exists(RUN) and not other.list("pyramids"):
        raise ConfigError(f"There are no models in {other.url}: --pyramids is a run, or a folder of `pgcn apply`.")
    model = standing if standing is not None or other is None else read_identity(other)
    origin = None if model is None else Origin(model, continued=standing is not None)
    choice = choose_settings(
        request.preset, pairs, origin, device, lambda preset: _better_in_bfloat16(preset, device, cluster), said
    )
    default = standing.samples if standing is not None else SamplePlan()
    plan = SamplePlan(count=request.samples or default.count, sizes=request.sizes or default.sizes)
    seed = request.seed if request.seed is not None else (model.seed if model is not None else 0)
    ask = RunDefaults(choice.preset, choice.overrides, seed, plan, request.max_pixels)
    passed = Passed()
    found = find_sources(
        request.images,
        setting_names=setting_names(),
        allow_local=request.allow_local,
        ask=task_of(request, task, options),
        passed=passed,
    )
    said += passed.sentences(lambda location: below(location, request.out) is not None)
    known = read_manifest(store) if standing is not None else {}
    sources = named(_outside(found, request.out, said), known)[: request.limit]
    check_asked(sources, ask)
    identity = RunIdentity.begin(choice.preset, choice.settings, seed, plan)
    if standing is not None and (sentence := standing.other_versions(identity)):
        said.append(sentence)
    said += _without_effect(request, device, sources)
    return Prepared(
        store=store,
        identity=identity,
        ask=ask,
        sources=sources,
        known=known,
        known_edits=read_edits(store) if standing is not None and any(source.edits for source in sources) else {},
        elsewhere=pyramids_in(other) if other is not None else {},
        device=device,
        need=need_of(device, request.cpus_per_job, request.gpus_per_job),
        said=said,
    )


def _without_effect(request: Request, device: str, sources: Sequence[Source]) -> list[str]:
    """Sentences about options that change nothing here. Raises `ConfigError` for those that cannot change anything."""
    if request.pyramids is not None and not any(source.edits for source in sources):
        raise ConfigError(
            "--pyramids is for tasks alone: say which with --task, or in a list with a column 'task'. "
            "Images without a task are trained here."
        )
    if device == "cpu" and request.gpus_per_job != 1:
        if request.device == "cpu":
            raise ConfigError("--gpus-per-job is for GPUs, and --device cpu uses none: leave one of them out.")
        return ["--gpus-per-job has no effect: there is no GPU."]
    if request.allow_local and all(is_local(name) or not is_list(name) for name in request.images):
        return ["--allow-local has no effect: no list from elsewhere is among the images."]
    return []


def _better_in_bfloat16(preset: str, device: str, cluster: Cluster) -> bool:
    """Jobs on this machine's CPU alone, where it is made for that; `paper` stays what was published."""
    return preset != "paper" and device == "cpu" and cluster.address is None and has_bfloat16_units()


def check_apart(images: Sequence[str], out: str) -> None:
    """Raises `ConfigError` for images that are asked for in the run's own folder, where none would be taken."""
    for asked in images:
        if not _LIST.search(asked) and below(_before_glob(asked), out) is not None:
            raise ConfigError(
                f"The images {terminal_safe(asked)} lie in --out {terminal_safe(public_url(out))}, where the run would "
                "keep its results. Choose another place for --out, which holds nothing or this run."
            )


def _before_glob(asked: str) -> str:
    """The part of a pattern before its first wildcard; all of a name that is a file's own."""
    if is_local(asked) and os.path.lexists(local_path(asked)):
        return asked
    return re.split(r"[^/]*[*?\[]", asked, maxsplit=1)[0] or "."


def _outside(found: list[Source], out: str, said: list[str]) -> list[Source]:
    """The sources that do not lie in the run's own folder: its gallery's thumbnails are not asked for.

    Says how many others are left out. Raises `ConfigError` where all are.
    """
    placed = [(source, below(source.location, out)) for source in found]
    outside = [source for source, path in placed if path is None]
    others = [path for _, path in placed if path is not None and not is_ours(path)]
    if others and not outside:
        raise ConfigError(
            f"All images lie in --out {terminal_safe(public_url(out))} itself: choose another place for it."
        )
    if others:
        said.append(f"{len(others)} images in {terminal_safe(public_url(out))} itself are left out.")
    return outside


def below(location: str, out: str) -> str | None:
    """The path of a place below a run's folder, "." for the folder itself; None where it is elsewhere.

    Links are followed.
    """
    if is_local(location) != is_local(out):
        return None
    if is_local(out):
        path = local_path(location)
        place = os.path.join(_real(str(path.parent)), path.name)  # noqa: PTH118 (a Path for each image takes long)
        folder = _real(str(local_path(out)))
        if os.path.isdir(place):  # noqa: PTH112
            place = _real(place)
    else:
        place, folder = location.rstrip("/"), out.rstrip("/")
    if place == folder:
        return "."
    return place[len(folder.rstrip("/")) + 1 :] if place.startswith(folder.rstrip("/") + "/") else None


@lru_cache(maxsize=1024)
def _real(path: str) -> str:
    """A path without links: kept, since a folder's images all ask the same."""
    return os.path.realpath(path)


def need_of(device: str, cpus: float, gpus: float) -> Resources:
    """What a job's worker holds on a device: cores, and a GPU or a share of one where the device is that."""
    if device == "cpu":
        return Resources(cpus=cpus)
    if not 0 < gpus <= 1 or abs(round(1 / gpus) - 1 / gpus) > 0.01:
        raise ConfigError(f"--gpus-per-job is 1, or a share 1/n of one GPU as 0.5 or 0.25, not {gpus:g}.")
    return Resources(cpus=cpus, gpus=math.floor(GPU_PARTS / round(1 / gpus)) / GPU_PARTS)


def _with_settled_names(prepared: Prepared, found: Mapping[str, Entry]) -> dict[str, tuple[Source, Entry]]:
    """Each source with what was found of it, by the name that it has now that its bytes are known."""
    whole: list[tuple[Source, Entry]] = []
    for source in prepared.sources:
        entry = found[source.image_id]
        own = settled(source, entry, prepared.known.get(source.image_id))
        whole.append((own, entry if own is source else under_its_name(entry, own, prepared.ask)))
    sources = with_own_edits([source for source, _ in whole], prepared.known_edits)
    return {source.image_id: (source, entry) for source, (_, entry) in zip(sources, whole, strict=True)}


def make_plan(prepared: Prepared, cluster: Cluster | None, *, retry: bool) -> Plan:
    """Look at the images and edits, on the cluster or (None) from this process, and sort out what follows.

    With `retry`, also at those of which storage says that they are unchanged.
    """
    ask, elsewhere = prepared.ask, prepared.elsewhere
    old: list[Item] = []
    new: list[Item] = []
    for source in prepared.sources:
        entry = prepared.known.get(source.image_id)
        unread = retry or entry is None or not unchanged(source, entry)
        (new if unread else old).append((alone(source), None if unread else entry))
    found = look_at(old, ask)
    if new and cluster is not None:
        cluster.join()
        found += with_ray(new, ask)
    elif new:
        found += concurrent_map(lambda item: plan_source(item[0], ask, item[1]), new)
    images = _with_settled_names(prepared, {entry.image_id: entry for entry in found})
    asked = [
        (source, edit, entry, None if retry else prepared.known_edits.get(edit.edit_id or ""))
        for whole, entry in images.values()
        if whole.edits
        for source in [alone(whole)]
        for edit in whole.edits
    ]
    unread = not all(edit_unchanged(*item[1:]) for item in asked)
    if unread and cluster is not None:
        cluster.join()
        edits = edits_with_ray(asked, ask, elsewhere)
    else:
        edits = look_at_edits(asked, ask, elsewhere)
    made = [(source, edit, entry) for (source, edit, *_), entry in zip(asked, edits, strict=True)]
    plan = build_plan(prepared.store, images, made, ask, elsewhere, prepared.need, retry=retry)
    plan.superseded = superseded(prepared.known_edits, plan.edits, plan.committed)
    return plan
