"""Strikes at random for minutes, each followed by the same command and all checks. For `make soak`."""

import os
import random
import time

import pytest

from tests.faults.command import start
from tests.faults.conftest import Batch
from tests.faults.points import POINTS, Strike
from tests.faults.proxy import ERRORS

SOAK_S = float(os.environ.get("SOAK_S", "600"))
SEED = int(os.environ.get("SOAK_SEED", random.randrange(10**6)))
PASSING = [*ERRORS, "reset", "cut body", "lost answer"]

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SOAK_S + 120)]


def killed_at_random(batch, dice, folder):
    """The command dies at any moment, up to three times."""
    for life in range(dice.randint(1, 3)):
        child = start(folder / f"log-{life}", batch.images, batch.place, env=batch.env)
        child.process.join(dice.uniform(0, 2 * batch.plain_s))
        child.process.kill()
        child.process.join()


def killed_at_points(batch, dice, folder):
    """The command dies at two named points."""
    for life, point in enumerate(dice.sample(list(POINTS), 2)):
        strike = Strike("SIGKILL", point, folder / f"struck-{life}", nth=dice.randint(1, 2))
        start(folder / f"log-{life}", batch.images, batch.place, strike=strike).wait()


def workers_lost(batch, dice, folder):
    """One of two workers is struck, once."""
    act = dice.choice(["SIGKILL", "killed for memory", "SIGTERM", "CUDA error", "full disk", "a bug"])
    worker_points = [name for name, kind in POINTS.items() if kind[0] != "look" and "tables/" not in kind[1]]
    code, output = batch.run(workers=2, strike=Strike(act, dice.choice(worker_points), folder / "struck"))
    assert code == 3, output


def bad_weather(batch, dice, proxy):
    """Of all requests one in some fails, each in another way; a command may end for it, in a sentence."""
    for fault in dice.sample(PASSING, 3):
        proxy.strike(fault, ".*", "", times=None).chance = dice.choice([0.01, 0.05, 0.2])
    code, output = batch.run()
    assert code in (2, 3, 4), output
    assert "Traceback" not in output
    proxy.heal()


def test_strikes_at_random(on_disk, in_bucket, proxy, table, reach, tmp_path):
    print(f"\nSOAK_SEED={SEED} SOAK_S={SOAK_S:.0f}")
    dice = random.Random(SEED)
    random.seed(SEED)
    until = time.monotonic() + SOAK_S
    strikes = 0
    while time.monotonic() < until:
        strikes += 1
        folder = tmp_path / str(strikes)
        folder.mkdir()
        began = time.monotonic()
        kind = dice.choice([killed_at_random, killed_at_points, workers_lost, bad_weather])
        print(f"{strikes}: {kind.__name__}", flush=True)
        with table.cell(f"at random: {kind.__name__}", f"strike {strikes}") as cell:
            if kind is bad_weather:
                batch = Batch(in_bucket, reach(proxy.server), folder / "copy", proxy.server.env)
                kind(batch, dice, proxy)
            else:
                batch = Batch(on_disk, str(folder / "run"), folder / "copy", {})
                kind(batch, dice, folder)
            code, output = batch.run()
            assert code == 3, output
            batch.spent_s = time.monotonic() - began  # with the lives of commands that were killed
            batch.is_as_if_nothing_happened(cell)
    print(f"{strikes} strikes survived")
