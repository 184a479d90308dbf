"""Learning from one image: a pyramid of energy functions over its patches. Tensors in, tensors out.

>>> import torch, pgcn
>>> image = torch.rand(1, 3, 20, 24) * 2 - 1
>>> tiny = pgcn.make_settings("draft", {"max_size": 24, "min_size": 12, "scales": 2, "iterations": 2})
>>> pyramid = pgcn.fit(image, settings=tiny)
>>> pyramid.sample(2, size=(20, 48)).shape
torch.Size([2, 3, 20, 48])
"""

from pgcn.patchgencn.masked_trainer import fit_masked
from pgcn.patchgencn.trainer import DivergenceError, Progress, Trainer
from pgcn.pyramid import ALGORITHM, Pyramid, fit
from pgcn.settings import PRESETS, Settings, SettingsError, make_settings
from pgcn.tasks.task import TaskError, TaskResult
from pgcn.testing import example

__all__ = [
    "ALGORITHM",
    "PRESETS",
    "DivergenceError",
    "Progress",
    "Pyramid",
    "Settings",
    "SettingsError",
    "TaskError",
    "TaskResult",
    "Trainer",
    "example",
    "fit",
    "fit_masked",
    "make_settings",
]
