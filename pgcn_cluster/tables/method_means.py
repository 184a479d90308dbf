"""Means of results by training method, for pages and summaries that compare methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pgcn.methods import DEFAULT


class MethodMeans(NamedTuple):
    """The number of a method's results, and the mean of each column over those that have a value; None without one."""

    method: str
    results: int
    means: dict[str, float | None]


def means_by_method(results: pa.Table, columns: Sequence[str]) -> list[MethodMeans]:
    """The means of `columns` of a table of results for each method, the default one first.

    Rows of version 0.1, which have no method, are of the default one.
    """
    methods = pc.fill_null(results["method"].cast(pa.string()), DEFAULT)
    plain = pa.table({"method": methods} | {name: results[name] for name in columns})
    wanted = [([], "count_all"), *((name, "mean") for name in columns)]
    rows = plain.group_by("method").aggregate(wanted).to_pylist()
    made = [
        MethodMeans(row["method"], row["count_all"], {name: row[f"{name}_mean"] for name in columns}) for row in rows
    ]
    return sorted(made, key=lambda own: (own.method != DEFAULT, own.method))
