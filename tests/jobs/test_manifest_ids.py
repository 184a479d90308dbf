"""Ids in a manifest become paths: one that leads out of the run is damage, said in a sentence."""

from dataclasses import replace

import pytest

from pgcn_jobs.common.failures import ConfigError
from pgcn_jobs.run_folder import schemas
from pgcn_jobs.run_folder.manifest import read_manifest, write_parts
from pgcn_jobs.run_folder.verify import check_records
from pgcn_jobs.storage.store import Store
from tests.jobs.test_clocks import ROW


@pytest.mark.parametrize("job", ["../../../etc/passwd", "/etc/passwd", "", "1" * 19, "A" * 20])
def test_an_id_that_is_none_is_damage(tmp_path, job):
    store = Store(str(tmp_path))
    write_parts(store, "manifest", [ROW], schemas.MANIFEST)
    assert read_manifest(store).keys() == {"a.png"}
    write_parts(store, "manifest", [replace(ROW, image_id="b.png", job_id=job)], schemas.MANIFEST)
    with pytest.raises(ConfigError, match=r"cannot be read as a part of the manifest. `pgcn verify"):
        read_manifest(store)
    (problem,) = check_records(store, quick=True).problems
    assert problem.sentence.endswith("is damaged: the images in it have to be asked for again.")
