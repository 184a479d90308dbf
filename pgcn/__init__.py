"""Generative models of single images: a pyramid of energy functions over an image's patches. Tensors in, tensors out.

>>> import torch, pgcn
>>> image = torch.rand(1, 3, 20, 24) * 2 - 1
>>> tiny = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 2})
>>> pyramid = pgcn.fit(image, settings=tiny)
>>> pyramid.sample(2, size=(20, 48)).shape
torch.Size([2, 3, 20, 48])
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgcn.fit import fit
from pgcn.imaging.channels import Channels, ChannelsError, Group, Image
from pgcn.method import ChainOptions, DivergenceError, Model, Progress
from pgcn.patchgencn.trainer import Trainer
from pgcn.pyramid import ALGORITHM, Pyramid
from pgcn.settings import PRESETS, Settings, SettingsError, make_settings
from pgcn.tasks.task import TaskError, TaskResult
from pgcn.testing import example

__all__ = [
    "ALGORITHM",
    "PRESETS",
    "ChainOptions",
    "Channels",
    "ChannelsError",
    "DivergenceError",
    "Group",
    "Image",
    "Model",
    "Progress",
    "Pyramid",
    "Settings",
    "SettingsError",
    "TaskError",
    "TaskResult",
    "Trainer",
    "example",
    "fit",
    "make_settings",
]

run: Callable[..., Any]
"""Trains on a folder of images: see `pgcn_cluster.api.run`."""

read_image: Callable[..., Image]
"""Reads an image with all its channels and bits: see `pgcn_jobs.inputs.image_files.read_image`."""

write_image: Callable[..., Path]
"""Writes an image with all its channels and bits: see `pgcn_jobs.inputs.image_files.write_image`."""

_API = "pgcn.api"
"""Entry points of functions that other packages add to this one, such as `run`, since imports go down only."""

_ADDED = ("run", "read_image", "write_image")

if not TYPE_CHECKING:  # mypy knows `run` by its annotation, and reports other names

    def __getattr__(name: str) -> Any:
        """A function of the entry points `pgcn.api`, loaded at its first use (PEP 562)."""
        for point in entry_points(group=_API, name=name):
            try:
                function = point.load()
            except ModuleNotFoundError as error:
                # Not an ImportError: `from pgcn import run` would replace the sentence with one of its own.
                raise RuntimeError(
                    f"pgcn.{name} needs the Python package {error.name!r}, which is not installed. "
                    "Install pgcn with all its dependencies: pip install pgcn"
                ) from error
            globals()[name] = function
            return function
        if name in _ADDED:
            raise RuntimeError(
                f"pgcn.{name} needs an installed pgcn: this one is a folder without its metadata. pip install pgcn"
            )
        raise AttributeError(f"module 'pgcn' has no attribute {name!r}")
