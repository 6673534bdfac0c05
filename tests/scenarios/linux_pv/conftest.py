"""Debian's Linux kernel, and initial RAM file systems for it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from guests.initramfs import BUSYBOX, initramfs

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


@pytest.fixture
def ramdisk(tmp_path: Path, hello32: bytes) -> Callable[[str], Path]:
    """Makes a file system in which the given script is /init."""
    if not BUSYBOX.exists() and not CI:
        pytest.skip("no /bin/busybox: install Debian's busybox-static")

    def make(init: str) -> Path:
        file = tmp_path / "initramfs"
        file.write_bytes(initramfs(init, files={"bin/hello32": hello32}))
        return file

    return make
