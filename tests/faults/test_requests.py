"""Number of requests to a bucket: each costs money, and a listing as much as a write."""

import re
from collections import Counter

import pytest

from pgcn_jobs.storage.store import Store
from tests.cluster.running import run_here, write_photographs


@pytest.fixture
def bucket_url(proxy, reach):
    proxy.heal()
    return reach(proxy.server)


def asked(proxy, part=""):
    """Requests since the last look whose address has `part`, by kind."""
    found = [each for each in proxy.asked if part in each]
    proxy.asked.clear()
    return Counter("LIST" if "list-type" in each else each.split()[0] for each in found)


def test_an_empty_folder_is_listed_once_and_what_is_created_is_looked_for_once(proxy, bucket_url):
    store = Store(bucket_url)
    store.put("there/a", b"1")
    asked(proxy)
    assert store.list("nothing") == {}
    assert asked(proxy) == {"LIST": 1}
    assert store.list("there") == {"there/a": 1}
    assert asked(proxy) == {"LIST": 1}
    assert store.create("new", b"1")
    assert asked(proxy) == {"GET": 1, "PUT": 1}


def test_a_job_lists_its_checkpoints_at_its_beginning_and_its_end(proxy, bucket_url, tmp_path):
    proxy.asked.clear()
    run_here(write_photographs(tmp_path / "images", 1), bucket_url)
    assert not [each for each in proxy.asked if re.match("HEAD .*/(commits|checkpoints|attempts)", each)]
    checkpoints = asked(proxy, "/checkpoints/")
    assert checkpoints["LIST"] == 2
    assert checkpoints["PUT"] == checkpoints["DELETE"] == 2, "one for each scale"
