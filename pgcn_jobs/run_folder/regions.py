"""Regions of a map as rows of a table, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pgcn.anomaly.regions import Region
from pgcn_jobs.run_folder.schemas import REGIONS


def region_rows(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """Rows of `schemas.REGIONS` without the job's columns, in the order of the regions."""
    return [{"index": index, **asdict(region)} for index, region in enumerate(regions)]


def regions_csv(regions: Sequence[Region]) -> bytes:
    """A CSV with a header, also of no region."""
    sink = io.StringIO()
    names = [name for name in REGIONS.names if name not in ("job_id", "attempt")]
    writer = csv.DictWriter(sink, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(region_rows(regions))
    return sink.getvalue().encode()
