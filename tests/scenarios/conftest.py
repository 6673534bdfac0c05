"""What scenarios share: the folder of configurations, and hosts on Ray, which is started once for all of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toolstack.testing import Host

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="session")
def configs() -> Path:
    """The repository's own configurations."""
    return CONFIGS


@pytest.fixture(scope="session")
def ray_ended() -> Iterator[None]:
    """At the end of the session, the end of its Ray."""
    yield
    import ray  # not before: see toolstack.ray_environment

    ray.shutdown()


@pytest.fixture
def ray_started(ray_ended: None) -> None:
    """Ray, for all tests until one has a cluster of its own."""
    from toolstack.ray_cluster import start_ray

    import ray  # isort: skip - not before: see toolstack.ray_environment

    if not ray.is_initialized():
        start_ray(2)


@pytest.fixture
def ray_host(ray_started: None) -> Callable[[Path], Host]:
    """Makes hosts whose domains are Ray actors."""
    from toolstack.runtime import load_runtime

    return lambda base: Host(load_runtime("ray"), base)


@pytest.fixture
def local_host() -> Callable[[Path], Host]:
    """Makes hosts that run in this process; a test that compares runs needs more than one."""
    from toolstack.runtime import load_runtime

    return lambda base: Host(load_runtime("local"), base)
