"""All use of `ray._private`: functions that Ray 2.60 has no public interface for. Look here first after an upgrade."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray


def draining_nodes() -> frozenset[str]:
    """Ids of nodes that are being drained. Ray's own libraries ask like this: the public table of nodes lacks it."""
    return frozenset(ray._private.state.state.get_draining_nodes())


def filter_command_line(redact: Callable[[str], str]) -> None:
    """Let Ray keep the driver's command line, which it stores among its jobs, only as `redact` returns it."""
    plain = ray._private.utils.get_entrypoint_name
    ray._private.utils.get_entrypoint_name = lambda: redact(plain())


class InfeasibleWarnings:
    """Ray's printed warnings about tasks that no machine can hold now, which no logging option turns off."""

    def __init__(self) -> None:
        self._print = ray._private.worker.print_to_stdstream

    def hide(self) -> None:
        """Print them no more; all other output of Ray is printed."""
        ray._private.worker.print_to_stdstream = self._print_others

    def _print_others(self, data: dict[str, Any], *arguments: Any, **named: Any) -> None:
        if not any("infeasible resource requests" in line for line in data["lines"]):
            self._print(data, *arguments, **named)
