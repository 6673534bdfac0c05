"""Unmodified kernels of other people, where the machine has them."""

import os
from pathlib import Path

import pytest

GRUB = {64: "grub-x86_64-xen.bin", 32: "grub-i386-xen.bin"}


def grub(width):
    """The bytes of PV GRUB of this width; skips the test where it is not installed, fails in CI."""
    path = Path("/usr/lib/grub-xen") / GRUB[width]
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{path} is not there (Debian package grub-xen-host)")
        pytest.skip(f"{path} is not there (Debian package grub-xen-host)")
    return path.read_bytes()
