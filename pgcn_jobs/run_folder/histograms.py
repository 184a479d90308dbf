"""Histograms of a model's statistics, the image's beside the samples', as the optional artifact `histograms.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, FiniteFloat, TypeAdapter, model_validator

from pgcn.method import HistogramPair

FILE = "histograms.json"

MOST_BINS, MOST_PAIRS = 256, 1024
"""Bounds of what is read: a run folder is untrusted input."""


class _Record(BaseModel):
    """One pair in the file."""

    model_config = ConfigDict(frozen=True)

    name: str
    scale: int
    edges: list[FiniteFloat]
    observed: list[FiniteFloat]
    synthesized: list[FiniteFloat]

    @model_validator(mode="after")
    def _fits(self) -> _Record:
        bins = len(self.observed)
        if not 1 <= bins <= MOST_BINS or len(self.synthesized) != bins or len(self.edges) != bins + 1:
            raise ValueError("the lengths of edges and shares do not fit")
        return self


_RECORDS = TypeAdapter(list[_Record])


def histograms_bytes(pairs: Sequence[HistogramPair]) -> bytes:
    """The content of the file."""
    return json.dumps([pair._asdict() for pair in pairs]).encode()


def read_histograms(data: bytes) -> list[HistogramPair]:
    """The inverse of `histograms_bytes`. Raises `ValueError` for a file that is damaged."""
    return [HistogramPair(**record.model_dump()) for record in _RECORDS.validate_json(data)[:MOST_PAIRS]]
