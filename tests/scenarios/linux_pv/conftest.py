"""Linux as a PV guest, with one processor and with two."""

from collections.abc import Callable
from pathlib import Path

import pytest
from linux_guest import Everything, hello32, kernel, ramdisk, run_everything

__all__ = ["everything", "hello32", "kernel", "ramdisk"]


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.again), 2])
def everything(request: pytest.FixtureRequest, kernel: Path, ramdisk: Callable[[str], Path],
               tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """Its whole run."""
    return run_everything(tmp_path_factory.mktemp("everything"), "pv", request.param, kernel, ramdisk)
