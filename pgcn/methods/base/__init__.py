"""Shared parts of small methods: nets, a trainer with states, a model with files, a method's plan.

A method is then its settings, its nets and one iteration: see `docs/extending.md`.
"""

from pgcn.methods.base.energy import Layer, PatchEnergy, ScaleEnergy, StackEnergy
from pgcn.methods.base.method import NetMethod
from pgcn.methods.base.model import NetPyramid
from pgcn.methods.base.settings import EXACT_DRAFT, NetSettings
from pgcn.methods.base.trainer import NetTrainer

__all__ = [
    "EXACT_DRAFT",
    "Layer",
    "NetMethod",
    "NetPyramid",
    "NetSettings",
    "NetTrainer",
    "PatchEnergy",
    "ScaleEnergy",
    "StackEnergy",
]
