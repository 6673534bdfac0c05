"""Linux as a PVH guest."""

from collections.abc import Callable
from pathlib import Path

import pytest
from linux_guest import Everything, hello32, kernel, ramdisk, run_everything

__all__ = ["everything", "hello32", "kernel", "ramdisk"]


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.again)])
def everything(request: pytest.FixtureRequest, kernel: Path, ramdisk: Callable[[str], Path],
               tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """Its whole run."""
    return run_everything(tmp_path_factory.mktemp("everything"), "pvh", request.param, kernel, ramdisk)
