"""Debian's Linux kernel, and initial RAM file systems for it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from going_on import run

from guests.initramfs import BUSYBOX, initramfs
from toolstack.load import load
from toolstack.plan import HostPlan
from toolstack.report import RunReport

HERE = Path(__file__).parent
KERNEL = Path(__file__).parents[3] / "build" / "linux" / "vmlinuz"
CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def kernel() -> Path:
    """The unmodified image.  `fetch.sh` gets it; without it these tests are skipped, but not in CI."""
    if CI:
        subprocess.run([HERE / "fetch.sh"], check=True)
    elif not KERNEL.exists():
        pytest.skip(f"no {KERNEL.name} in build/linux: run tests/scenarios/linux_pv/fetch.sh")
    return KERNEL


@pytest.fixture(scope="session")
def hello32(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A 32-bit program for Linux."""
    program = tmp_path_factory.mktemp("hello32") / "hello32"
    subprocess.run([sys.executable, "-m", "ziglang", "cc", "-target", "x86-linux-none", "-nostdlib", "-static", "-O1",
                    "-ffreestanding", "-fno-pic", "-fno-pie", "-g0", HERE / "hello32.c", "-o", program], check=True)
    return program.read_bytes()


@pytest.fixture(scope="session")
def ramdisk(tmp_path_factory: pytest.TempPathFactory, hello32: bytes) -> Callable[[str], Path]:
    """Makes a file system in which the given script is /init."""
    if not BUSYBOX.exists() and not CI:
        pytest.skip("no /bin/busybox: install Debian's busybox-static")

    def make(init: str) -> Path:
        file = tmp_path_factory.mktemp("ramdisk") / "initramfs"
        file.write_bytes(initramfs(init, files={"bin/hello32": hello32}))
        return file

    return make


class Everything(NamedTuple):
    """A Linux named `linux` that does all of everything.sh, with so many vCPUs, and its whole run."""

    vcpus: int
    plan: HostPlan
    report: RunReport


@pytest.fixture(scope="module", params=[1, 2])
def everything(request: pytest.FixtureRequest, kernel: Path, ramdisk: Callable[[str], Path],
               tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """One run for all that compare others with it.

    Without the self-tests of its ciphers, which are a quarter of a boot's work and arithmetic alone.
    """
    file = tmp_path_factory.mktemp("everything") / "linux.yaml"
    script = (HERE / "everything.sh").read_text()
    file.write_text(f"domains: {{linux: {{type: pv, kernel: {kernel}, ramdisk: {ramdisk(script)}, memory: 256MiB, "
                    f"vcpus: {request.param}, cmdline: console=hvc0 earlyprintk=xen cryptomgr.notests}}}}")
    plan = load(str(file)).plan()
    return Everything(request.param, plan, run(plan))
