"""Numbers and times as a person reads them. `gallery.js` follows the same rules for its rows."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

NOTHING = "–"


def finite(value: float | None) -> float | None:
    """The value, or None where it is missing, infinite or not a number."""
    return value if value is not None and math.isfinite(value) else None


def rounded(value: float | None) -> float | None:
    """The value to three significant digits; None where there is no finite value."""
    value = finite(value)
    return None if value is None else float(f"{value:.3g}")


def number(value: float | None) -> str:
    """Three significant digits, never an exponent between 1e-6 and 1e16: "0.0312", "151000"."""
    short = rounded(value)
    if short is None:
        return NOTHING
    if short and not 1e-6 <= abs(short) < 1e16:
        return f"{short:g}"
    return f"{short:f}".rstrip("0").rstrip(".")


def share(value: float | None) -> str:
    """A value in [0, 1] as per cent: "12 %"."""
    value = finite(value)
    return NOTHING if value is None else f"{math.floor(value * 100 + 0.5)} %"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that keeps the number short: "41 s", "12 min", "3.2 h"."""
    seconds = finite(seconds)
    if seconds is None:
        return NOTHING
    if seconds < 100:
        return f"{number(seconds)} s"
    if seconds < 6000:
        return f"{math.floor(seconds / 60 + 0.5)} min"
    return f"{number(seconds / 3600)} h"


def size(count: int) -> str:
    """Bytes in the unit that keeps the number short: "812 B", "153 kB", "4.1 MB"."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{number(value)} {unit}"
        value /= 1000
    return f"{number(value)} GB"


def when(moment: str | None) -> str:
    """An ISO 8601 moment as minutes in UTC; text that is none is shown as it is."""
    if not moment:
        return NOTHING
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    if parsed.tzinfo is not None:
        parsed = parsed.astimezone(UTC)
    return f"{parsed:%Y-%m-%d %H:%M} UTC"


def natural_order(name: str) -> str:
    """A sort key that puts img2 before img10 and ignores case, with ties broken by the exact name."""
    parts = re.split(r"([0-9]+)", name.casefold())
    # A number sorts by its digits without leading zeros: first by how many there are, then one by one.
    numbers = [f"{len(p.lstrip('0')):05d}{p.lstrip('0')}" if i % 2 else p for i, p in enumerate(parts)]
    # One text, since a million tuples take a gigabyte. "\0" sorts before all that can follow an equal beginning.
    return "\0".join([*numbers, "", name])
