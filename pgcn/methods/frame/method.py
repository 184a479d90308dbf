"""A method with fixed filters: its plan."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import ClassVar, TypeVar

from pgcn.method import WorkPlan
from pgcn.methods.base import NetMethod, NetPyramid, NetTrainer
from pgcn.methods.frame.model import FilterPyramid
from pgcn.methods.frame.settings import FilterSettings
from pgcn.methods.frame.training import FilterTrainer

S = TypeVar("S", bound=FilterSettings)


class FilterMethod(NetMethod[S], ABC):
    """A `NetMethod` with the model and the training of fixed filters."""

    model: ClassVar[type[NetPyramid]] = FilterPyramid
    training: ClassVar[type[NetTrainer]] = FilterTrainer

    def plan(self, height: int, width: int, settings: S) -> WorkPlan:
        """The work of training; sampling has chains of its own length."""
        plan = super().plan(height, width, settings)
        return replace(plan, sampling=plan.sampling * settings.steps_in_sampling / settings.langevin_steps)
