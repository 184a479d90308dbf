"""Edits under the same strikes as trainings: no pyramid is trained twice for them, none is lost or made twice."""

import pytest

from pgcn_cluster.tables.query import query
from tests.faults.points import Strike


def trainings(batch):
    """Attempts that trained a model, committed or failed."""
    sql = "SELECT count(*) AS n FROM attempts WHERE job_id IN (SELECT job_id FROM results)"
    return query(batch.store, sql).to_pylist()[0]["n"]


@pytest.mark.parametrize(
    ("act", "point", "nth"),
    [
        ("SIGKILL", "before an edit's artifacts", 1),
        ("SIGKILL", "between an edit's artifacts", 1),
        ("SIGKILL", "during the commit", 2),
        ("SIGKILL", "after the commit", 2),
        ("hangs", "before an edit's artifacts", 1),
    ],
)
def test_a_worker_that_is_lost_in_an_edit_is_replaced(edits, table, tmp_path, act, point, nth):
    strike = Strike(act, point, tmp_path / "struck", nth=nth)
    where = f"{point}, of an edit" if "edit" not in point else point
    with table.cell(f"worker: {'hangs for 4 s' if act == 'hangs' else act}", where) as cell:
        # On a busy machine seconds of silence are nothing unusual: a worker that is well would be replaced too.
        silence = {"silence_s": 4.0} if act == "hangs" else {}
        code, output = edits.run(**silence, workers=2, strike=strike)
        assert strike.struck
        assert code == 3, output
        edits.is_as_if_nothing_happened(cell)
        if act != "hangs":
            assert trainings(edits) == 2, "the models were there already"


def test_storage_that_fails_once_within_an_edit_is_tried_again(edits, table, tmp_path):
    strike = Strike("full disk", "between an edit's artifacts", tmp_path / "struck")
    with table.cell("worker: full disk", "between an edit's artifacts") as cell:
        code, output = edits.run(strike=strike)
        assert strike.struck
        assert code == 3, output
        assert "will try again" in output
        edits.is_as_if_nothing_happened(cell)
