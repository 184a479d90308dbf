"""Histograms of a model's statistics as charts: the image's as one line, that of samples as another."""

from __future__ import annotations

import logging
from collections import defaultdict

from pgcn.method import HistogramPair
from pgcn_cluster.gallery.views.curves import Chart, Line, draw
from pgcn_cluster.gallery.views.formatting import number
from pgcn_jobs.run_folder.histograms import FILE, read_histograms
from pgcn_jobs.storage.store import Store

log = logging.getLogger(__name__)

MOST = 8
"""Charts of one scale; others are in the file."""


def histogram_charts(store: Store, folder: str, problems: list[str]) -> dict[int, list[Chart]]:
    """The charts of each scale; none where the attempt has no such file, as most have not."""
    try:
        pairs = read_histograms(store.get(folder + FILE))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("The gallery could not read %s: %s", folder + FILE, error)
        problems.append(f"{folder + FILE} could not be read: it is damaged.")
        return {}
    found: dict[int, list[Chart]] = defaultdict(list)
    for pair in pairs:
        if len(found[pair.scale]) < MOST:
            found[pair.scale].append(_chart(f"h{pair.scale}-{len(found[pair.scale])}", pair))
    return dict(found)


def _chart(key: str, pair: HistogramPair) -> Chart:
    lines = [Line("image", list(enumerate(pair.observed))), Line("samples", list(enumerate(pair.synthesized)))]
    limits = f"{number(pair.edges[0])} … {number(pair.edges[-1])}"
    differ = sum(abs(a - b) for a, b in zip(pair.observed, pair.synthesized, strict=True)) / 2
    said = f"Shares of {len(pair.observed)} bins from {limits}; {differ:.0%} of the values are in other bins."
    heading = f"Histogram: {pair.name}"
    return Chart(
        heading, [line.label for line in lines], draw(key, f"{heading}, scale {pair.scale}", lines, said, limits)
    )
