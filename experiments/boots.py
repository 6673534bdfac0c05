"""How long other people's paravirtual kernels take to boot: Debian's GRUB to its prompt, Debian's Linux to user space.

What they need is not part of this repository: the images of Debian's package grub-xen-host, a kernel that
`tests/scenarios/linux_pv/fetch.sh` gets, and busybox-static.  Without them there is no figure.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.figures import SECONDS, Amount, Experiment, Figure
from experiments.startup import ROOT, seconds_to_line
from experiments.stopwatch import Absent
from guests.initramfs import BUSYBOX, initramfs
from toolstack.plan import ClockMode

_GRUB = {64: Path("/usr/lib/grub-xen/grub-x86_64-xen.bin"), 32: Path("/usr/lib/grub-xen/grub-i386-xen.bin")}
_LINUX = ROOT / "build" / "linux" / "vmlinuz"
_FETCH = "tests/scenarios/linux_pv/fetch.sh"
_INIT = """\
#!/bin/sh
echo user space
poweroff -f
"""


def _domain(kernel: Path, memory: str, **more: object) -> dict[str, Any]:
    return {"domains": {"guest": {"type": "pv", "kernel": str(kernel), "memory": memory, **more}}}


def _grub(bits: int) -> Experiment:
    figure = Figure(f"grub-pv{bits}", f"from the command to the prompt of {bits}-bit PV GRUB, and an answer there",
                    SECONDS, 1.5)

    def measure(amount: Amount) -> Sequence[float]:
        if not _GRUB[bits].exists():
            raise Absent(f"no {_GRUB[bits]}: it is in Debian's package grub-xen-host")
        # A prompt is no line; the first line behind it comes when a command was typed there.
        typed = [{"expect": "grub> ", "send": "echo answered\n"}, {"expect": "grub> ", "send": "halt\n"}]
        return [seconds_to_line(_domain(_GRUB[bits], "64MiB", input=typed), "guest | answered")]

    return Experiment(figure.name, (figure,), measure)


def _linux(clock: ClockMode, target: float) -> Experiment:
    figure = Figure(f"linux-pv-{clock}", f"from the command to Linux's user space, 64-bit PV, {clock} clock",
                    SECONDS, target)

    def measure(amount: Amount) -> Sequence[float]:
        if not _LINUX.exists():
            raise Absent(f"no {_LINUX.relative_to(ROOT)}: run {_FETCH}")
        if not BUSYBOX.exists():
            raise Absent(f"no {BUSYBOX}: it is in Debian's package busybox-static")
        with tempfile.NamedTemporaryFile() as ramdisk:
            ramdisk.write(initramfs(_INIT))
            ramdisk.flush()
            configuration = _domain(_LINUX, "256MiB", ramdisk=ramdisk.name, cmdline="console=hvc0 earlyprintk=xen")
            return [seconds_to_line(configuration, "guest | user space", "--clock", clock)]

    return Experiment(figure.name, (figure,), measure)


BOOTS = (_grub(64), _grub(32), _linux("virtual", 20), _linux("host", 12))
"""In the order of the table."""
