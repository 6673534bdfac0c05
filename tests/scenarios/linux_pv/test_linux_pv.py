"""Debian's Linux kernel, unmodified, boots as a paravirtual guest."""

from pathlib import Path

import pytest

from guests.initramfs import SHELL

pytestmark = pytest.mark.slow

EVERYTHING = (Path(__file__).parent / "everything.sh").read_text()
SETTINGS = {"type": "pv", "memory": "256MiB", "cmdline": "console=hvc0 earlyprintk=xen"}


def said(domain, begin):
    """The lines that user space wrote, from the one that begins so."""
    lines = [line for line in domain.console if not line.startswith("[")]
    start = next((index for index, line in enumerate(lines) if line.startswith(begin)), len(lines))
    return [line.rstrip() for line in lines[start:]]


def everything(processors):
    return [
        "user space: Linux x86_64", f"processors: {processors}", "fork and exec: one two three", "pipe: 1 2000",
        "signal: caught", "Killed", "signal: ended with 137", "timer: a second", "sums: 30e14955ebf13522",
        "hello from 32 bits", "log: clean"]


@pytest.mark.parametrize("vcpus", [1, 2])
def test_user_space_runs_and_is_the_same_with_the_native_front_and_without(host, kernel, ramdisk, vcpus, monkeypatch):
    linux = host.domain(kernel, name="linux", ramdisk=ramdisk(EVERYTHING), vcpus=vcpus, **SETTINGS)
    digests = set()
    for front in ("1", "0"):
        monkeypatch.setenv("DOMUS_FAST_PATH", front)
        host.run(timeout=240)
        assert (linux.exit, said(linux, "user space")) == ("poweroff", everything(vcpus))
        digests.add(linux.digest)
    assert len(digests) == 1


def test_a_shell_on_the_console_answers_what_is_typed(host, kernel, ramdisk):
    typed = [{"expect": "# ", "send": "echo $((6 * 7)) answers\n"}, {"expect": "42 answers"},
             {"expect": "# ", "send": "exit\n"}]
    linux = host.domain(kernel, name="linux", ramdisk=ramdisk(SHELL), input=typed, **SETTINGS)
    host.run(timeout=240)
    assert linux.exit == "poweroff"
    assert "42 answers" in linux.console
