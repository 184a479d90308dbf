"""Preparation of a request: every choice before an image is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgcn.method_settings import SettingsError
from pgcn.methods import names_of_settings
from pgcn_cluster.planning.device import choose_device, has_bfloat16_units, need_of
from pgcn_cluster.planning.naming import for_methods, named
from pgcn_cluster.planning.outside import below, check_apart, outside
from pgcn_cluster.planning.run_options import Request
from pgcn_cluster.planning.settings_choice import Asked, Choice, Origin, choose_methods, choose_settings
from pgcn_cluster.planning.task_request import exclude_request, find, parts_request, split_task_options, task_request
from pgcn_cluster.scheduler.resources import Resources
from pgcn_cluster.scheduler.worker_pool import Backend
from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.common.terminal_text import terminal_safe
from pgcn_jobs.inputs.discover import Source, find_sources, is_list
from pgcn_jobs.inputs.passed_over import Passed
from pgcn_jobs.layout import RUN
from pgcn_jobs.run_folder.edit_manifest import EditEntry, check_edit, read_edits
from pgcn_jobs.run_folder.identity import RunIdentity, check_same, read_identity, require_place
from pgcn_jobs.run_folder.manifest import Entry, RunDefaults, read_manifest
from pgcn_jobs.run_folder.pyramids import pyramids_in
from pgcn_jobs.spec import PyramidRef, SamplePlan
from pgcn_jobs.storage.store import Store
from pgcn_jobs.storage.urls import is_local


@dataclass(frozen=True)
class Prepared:
    """A request with all choices made; `said` has sentences on the reasons."""

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
    check_apart(request.images, request.out)
    standing = require_place(store)
    said: list[str] = []
    device = choose_device(request.device, cluster.has_gpu)
    other = _other_run(request.pyramids)
    origin = _origin(standing, other)
    methods = choose_methods(request.method, origin)
    setting_names = names_of_settings(methods)
    task = find(request.task)
    task_options, pairs = split_task_options(task, request.overrides, setting_names)
    asked = Asked(request.preset, pairs, device, lambda preset: _faster_in_bfloat16(preset, device, cluster))
    choices = {name: choose_settings(asked, name, origin, said) for name in methods}
    plan = _sample_plan(request, standing)
    seed = request.seed if request.seed is not None else (origin.identity.seed if origin is not None else 0)
    known = read_manifest(store) if standing is not None else {}
    passed = Passed()
    found = find_sources(
        request.images,
        setting_names=setting_names,
        allow_local=request.allow_local,
        ask=task_request(request, task, task_options),
        passed=passed,
        parts=parts_request(request),
        exclude=exclude_request(request),
    )
    said += passed.sentences(lambda location: below(location, request.out) is not None)
    sources = _limited(named(for_methods(outside(found, request.out, said), methods), known), request.limit, methods)
    of_lists = {source.method for source in sources if source.method is not None} - choices.keys()
    listed = {name: choose_settings(asked, name, origin, []) for name in sorted(of_lists)}
    ask = _defaults(choices | listed, seed, plan, request.max_pixels)
    check_requested(sources, ask)
    first, *others = choices.values()
    identity = RunIdentity.begin(
        first.preset, first.settings, seed, plan, {choice.settings.method: choice.settings for choice in others}
    )
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


def _limited(sources: list[Source], limit: int | None, methods: Sequence[str]) -> list[Source]:
    """The first `limit` images, each with all of its methods."""
    if limit is None or len(methods) == 1:
        return sources[:limit]
    locations = set(list(dict.fromkeys(source.location for source in sources))[:limit])
    return [source for source in sources if source.location in locations]


def _defaults(choices: Mapping[str, Choice], seed: int, plan: SamplePlan, max_pixels: int) -> RunDefaults:
    """The defaults of the images; the first choice is that of the images that name no method."""
    (method, first), *others = choices.items()
    of_others = {name: choice.overrides for name, choice in others}
    return RunDefaults(first.preset, first.overrides, seed, plan, max_pixels, method, of_others)


def _sample_plan(request: Request, standing: RunIdentity | None) -> SamplePlan:
    """The samples of each pyramid: as requested, else as in the run, else the default."""
    default = standing.samples if standing is not None else SamplePlan()
    return SamplePlan(count=request.samples or default.count, sizes=request.size or default.sizes)


def _other_run(url: str | None) -> Store | None:
    """The run or folder of `--pyramids`. Raises `ConfigError` where it has no pyramids."""
    other = None if url is None else Store(url)
    if other is not None and not other.exists(RUN) and not other.list("pyramids"):
        raise ConfigError(
            f"There are no pyramids in {other.url}: --pyramids is a run, or a folder of `pgcn apply`.",
            code=Code.PYRAMID_MISSING,
        )
    return other


def _origin(standing: RunIdentity | None, other: Store | None) -> Origin | None:
    if standing is not None:
        return Origin(standing, continued=True)
    identity = None if other is None else read_identity(other)
    return None if identity is None else Origin(identity, continued=False)


def _without_effect(request: Request, device: str, sources: Sequence[Source]) -> list[str]:
    """Sentences on options without effect here. Raises `ConfigError` for options that cannot have one."""
    if request.pyramids is not None and not any(source.edits for source in sources):
        raise ConfigError(
            "--pyramids is for tasks only: name one with --task, or in a list with a column 'task'. "
            "Images without a task are trained here.",
            code=Code.OPTION_VALUE,
        )
    if device == "cpu" and request.gpus_per_job != 1:
        if request.device == "cpu":
            raise ConfigError(
                "--gpus-per-job is for GPUs, and --device cpu uses none: leave one of them out.",
                code=Code.OPTION_VALUE,
            )
        return ["--gpus-per-job has no effect: there is no GPU."]
    if request.allow_local and all(is_local(name) or not is_list(name) for name in request.images):
        return ["--allow-local has no effect: no list from elsewhere is among the images."]
    return []


def check_requested(sources: Iterable[Source], ask: RunDefaults) -> None:
    """Raises `ConfigError` for invalid settings and tasks of single images, before anything runs."""
    for source in sources:
        try:
            ask.settings(source)
        except SettingsError as error:
            name = terminal_safe(source.image_id)
            raise ConfigError(f"The list's row of {name} cannot be used. {error}", code=Code.LIST_ROW) from None
        for edit in source.edits:
            check_edit(source, edit)


def _faster_in_bfloat16(preset: str, device: str, cluster: Backend) -> bool:
    """True for jobs on this machine's CPU, where it has bfloat16 units; `paper` stays as published."""
    return preset != "paper" and device == "cpu" and cluster.address is None and has_bfloat16_units()
