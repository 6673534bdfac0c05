"""A Linux that is taken out of its run at any moment goes on as if nothing had been."""

from pathlib import Path

import pytest
from going_on import check

from toolstack.load import load

pytestmark = pytest.mark.slow

EVERYTHING = (Path(__file__).parent / "everything.sh").read_text()


@pytest.mark.parametrize("vcpus", [1, 2])
def test_linux_goes_on(kernel, ramdisk, tmp_path, vcpus):
    (tmp_path / "linux.yaml").write_text(
        f"domains: {{linux: {{type: pv, kernel: {kernel}, ramdisk: {ramdisk(EVERYTHING)}, memory: 256MiB, "
        f"vcpus: {vcpus}, cmdline: console=hvc0}}}}")
    check(load(str(tmp_path / "linux.yaml")).plan(), tmp_path / "kept", 4)
