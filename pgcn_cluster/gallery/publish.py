"""The last step of a run: builds tables and gallery from its records, unless they are current."""

from __future__ import annotations

import pyarrow as pa

from pgcn_cluster.gallery import build_gallery
from pgcn_cluster.ray_cluster.parallel_map import Spread, map_local
from pgcn_cluster.tables.build import build_tables, is_current, mark_current, records_now
from pgcn_jobs.storage.store import Store


def publish(store: Store, spread: Spread = map_local) -> list[str]:
    """Build tables and gallery where they are not current; returns sentences for results that are damaged."""
    records = records_now(store)
    if is_current(store, records):
        return []
    found = build_tables(store, spread)
    pa.default_memory_pool().release_unused()  # else the gallery's memory comes on top of it
    build_gallery(store, spread=spread)
    if not found.problems:
        mark_current(store, records)
    return found.problems
