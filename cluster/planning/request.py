"""What a command asks for, and every choice that follows from it before an image is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.planning.device import choose_device, has_bfloat16_units
from cluster.planning.plan import Item, Plan, build_plan, check_asked, edits_with_ray, look_at, look_at_edits, with_ray
from cluster.planning.task_request import find, split_task_options, task_of
from cluster.scheduler.resources import Resources
from cluster.scheduler.stopping import Limits
from cluster.scheduler.worker_pool import Backend
from jobs.common.concurrent_map import ahead
from jobs.common.failures import ConfigError
from jobs.inputs.discover import Source, apart, find_sources
from jobs.inputs.source import alone
from jobs.run_folder.edit_manifest import EditEntry, edit_unchanged, overtaken, read_edits
from jobs.run_folder.identity import RUN, RunIdentity, check_same, read_identity
from jobs.run_folder.manifest import Entry, RunDefaults, plan_source, read_manifest, unchanged
from jobs.run_folder.pyramids import pyramids_in
from jobs.spec import PyramidRef, SamplePlan
from jobs.storage.store import Store
from jobs.storage.urls import is_local, local_path
from pgcn.settings import Settings, make_settings

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
    local: bool = False
    workers: int | None = None
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


def prepare(request: Request, cluster: Backend) -> Prepared:
    """Make every choice that needs no image. Writes nothing. Raises `JobError` or `pgcn.SettingsError`."""
    store = Store(request.out)
    standing = read_identity(store)
    said: list[str] = []
    device = choose_device(request.device, cluster.has_gpu)
    task = find(request.task)
    options, pairs = split_task_options(task, request.overrides)
    request = replace(request, overrides=pairs)
    other = Store(request.pyramids) if request.pyramids is not None else None
    if other is not None and not other.exists(RUN) and not other.list("pyramids"):
        raise ConfigError(f"There are no models in {other.url}: --pyramids is a run, or a folder of `pgcn apply`.")
    model = standing if standing is not None or other is None else read_identity(other)
    preset = request.preset
    if preset is None and model is not None:
        preset = model.preset
        of = "this run" if standing is not None else "the run of the pyramids"
        said.append(f"Preset {preset}, as {of} was begun with.")
    if preset is None:
        preset = "best" if device == "cuda" else "draft"
        slow = "and `best` would take hours on a CPU"
        why = "there is a GPU" if device == "cuda" else f"no GPU is used, {slow}"
        said.append(f"Preset {preset}, since {why}. Choose with --preset.")
    default = standing.samples if standing is not None else SamplePlan()
    plan = SamplePlan(count=request.samples or default.count, sizes=request.sizes or default.sizes)
    seed = request.seed if request.seed is not None else (model.seed if model is not None else 0)
    if model is not None and request.preset is None and not request.overrides:
        settings, overrides = model.settings, _beside(model.settings, preset)
    else:
        overrides = dict(request.overrides)
        if "precision" not in overrides and model is not None:
            overrides["precision"] = model.settings.precision
        elif "precision" not in overrides and _better_in_bfloat16(preset, device, cluster):
            overrides["precision"] = "bfloat16"
            said.append("In bfloat16, since this CPU has AMX: half the time. --set precision=float32 does without.")
        settings = make_settings(preset, overrides)
    ask = RunDefaults(preset, overrides, seed, plan, request.max_pixels)
    found = find_sources(
        request.images,
        setting_names=Settings.model_fields,
        allow_local=request.allow_local,
        ask=task_of(request, task, options),
    )
    known = read_manifest(store) if standing is not None else {}
    sources = [_apart(source, known) for source in found if not _inside(source.location, request.out)][: request.limit]
    check_asked(sources, ask)
    return Prepared(
        store=store,
        identity=RunIdentity.begin(preset, settings, seed, plan),
        ask=ask,
        sources=sources,
        known=known,
        known_edits=read_edits(store) if standing is not None and any(source.edits for source in sources) else {},
        elsewhere=pyramids_in(other) if other is not None else {},
        device=device,
        need=need_of(device, request.cpus_per_job, request.gpus_per_job),
        said=said,
    )


def _apart(source: Source, known: Mapping[str, Entry]) -> Source:
    """The source, under another name where an earlier command gave its name to an image from elsewhere."""
    other = known.get(source.image_id)
    if other is None or (other.uri, other.holes_uri) == (source.uri, source.holes_uri):
        return source
    # What was refused, for its mask perhaps, has made nothing that would need its name.
    return source if other.uri == source.uri and other.problem is not None else apart(source)


def _better_in_bfloat16(preset: str, device: str, cluster: Backend) -> bool:
    """Jobs on this machine's CPU alone, where it is made for that; `paper` stays what was published."""
    return preset != "paper" and device == "cpu" and cluster.address is None and has_bfloat16_units()


def _inside(location: str, out: str) -> bool:
    """Whether an image lies in the run's own folder: its gallery's thumbnails are not asked for."""
    folder = str(local_path(out)) if is_local(out) else out
    return location.startswith(folder.rstrip("/") + "/")


def _beside(settings: Settings, preset: str) -> dict[str, Any]:
    """The settings in which a run is not its preset."""
    plain = make_settings(preset).model_dump()
    return {name: value for name, value in settings.model_dump().items() if plain[name] != value}


def need_of(device: str, cpus: float, gpus: float) -> Resources:
    """What a job's worker holds on a device: cores, and a GPU or a share of one where the device is that."""
    if device == "cpu":
        return Resources(cpus=cpus)
    if not 0 < gpus <= 1 or abs(round(1 / gpus) - 1 / gpus) > 0.01:
        raise ConfigError(f"--gpus-per-job is 1, or a share 1/n of one GPU as 0.5 or 0.25, not {gpus:g}.")
    return Resources(cpus=cpus, gpus=math.floor(GPU_PARTS / round(1 / gpus)) / GPU_PARTS)


def make_plan(prepared: Prepared, cluster: Backend | None, *, retry: bool) -> Plan:
    """Look at the images and edits, on the cluster or (None) from this process, and sort out what follows."""
    ask, elsewhere = prepared.ask, prepared.elsewhere
    old: list[Item] = []
    new: list[Item] = []
    for source in prepared.sources:
        entry = prepared.known.get(source.image_id)
        unread = entry is None or not unchanged(source, entry) or (retry and entry.problem is not None)
        (new if unread else old).append((alone(source), None if unread else entry))
    found = look_at(old, ask)
    if new and cluster is not None:
        cluster.join()
        found += with_ray(new, ask)
    elif new:
        found += ahead(lambda item: plan_source(item[0], ask, item[1]), new)
    entries = {entry.image_id: entry for entry in found}
    images = {source.image_id: (source, entries[source.image_id]) for source in prepared.sources}
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
    plan.overtaken = overtaken(prepared.known_edits, plan.edits, plan.committed)
    return plan
