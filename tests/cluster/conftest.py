"""A Ray that stands for the whole session: runs that do it no harm need none of their own."""

from collections.abc import Callable, Iterator

import pytest

from tests.cluster.machines import standing_ray
from tests.cluster.running import ask


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    with standing_ray() as address:
        yield address


@pytest.fixture
def there(ray_address: str) -> Callable[..., tuple[int, str]]:
    """`pgcn run` from this process, its workers on the standing Ray: code and output."""
    return lambda *arguments: ask("run", *arguments, "--ray-address", ray_address)
