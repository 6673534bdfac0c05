"""Debian's Linux kernel, and initial RAM file systems for it: fixtures of the scenarios that boot it."""

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

HERE = Path(__file__).parent / "linux_pv"
KERNEL = Path(__file__).parents[2] / "build" / "linux" / "vmlinuz"
EVERYTHING = (HERE / "everything.sh").read_text()
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


def run_everything(folder: Path, kind: str, vcpus: int, kernel: Path, ramdisk: Callable[[str], Path]) -> Everything:
    """One run of a guest of this type, for all that compare others with it.

    Without the self-tests of its ciphers, which are a quarter of a boot's work and arithmetic alone.
    """
    file = folder / "linux.yaml"
    file.write_text(f"domains: {{linux: {{type: {kind}, kernel: {kernel}, ramdisk: {ramdisk(EVERYTHING)}, "
                    f"memory: 256MiB, vcpus: {vcpus}, cmdline: console=hvc0 earlyprintk=xen cryptomgr.notests}}}}")
    plan = load(str(file)).plan()
    return Everything(vcpus, plan, run(plan))


def said(report: RunReport) -> list[str]:
    """The lines that user space wrote."""
    lines = [line.rstrip() for line in report.domains["linux"].console if not line.startswith("[")]
    return lines[next((index for index, line in enumerate(lines) if line.startswith("user space")), len(lines)):]


def expected(vcpus: int) -> list[str]:
    """Those that it should have."""
    return ["user space: Linux x86_64", f"processors: {vcpus}", "fork and exec: one two three", "pipe: 1 2000",
            "signal: caught", "Killed", "signal: ended with 137", "timer: a second", "sums: 30e14955ebf13522",
            "hello from 32 bits", "log: clean"]
