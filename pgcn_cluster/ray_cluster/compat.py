"""All use of `ray._private`: functions that Ray 2.60 has no public interface for. Look here first after an upgrade."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private.authentication import authentication_token_setup

from pgcn_cluster.interrupts import SIGNALS


def draining_nodes() -> frozenset[str]:
    """Ids of nodes that are being drained. Ray's own libraries ask like this: the public table of nodes lacks it."""
    return frozenset(ray._private.state.state.get_draining_nodes())


def filter_command_line(redact: Callable[[str], str]) -> None:
    """Let Ray keep the driver's command line, which it stores among its jobs, only as `redact` returns it."""
    plain = ray._private.utils.get_entrypoint_name
    ray._private.utils.get_entrypoint_name = lambda: redact(plain())


def use_token() -> None:
    """Let clients of this process send the cluster's token, where it is known and RAY_AUTH_MODE is not set.

    It is that of RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or `~/.ray/auth_token`. A local Ray of this user makes the last
    one; `ray start --head` takes any of them, as does `ray.init` with an address. Ray's client of jobs takes none.
    """
    logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)  # it warns that there is a token
    authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


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


@contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Keep this process's handlers of SIGINT and SIGTERM where Ray, in this context, is joined or left.

    Ray sets handlers of SIGTERM in Python, with other exit codes. Its C++ part sets one that prints a stack and aborts
    three seconds later; it sets the default where the driver leaves.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    set_handler = ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = set_handler
        for number, handler in handlers.items():
            signal.signal(number, handler)
