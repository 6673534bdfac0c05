"""Debian's Linux kernel, unmodified, boots as a paravirtual guest."""

import pytest
from going_on import check, facts, run
from linux_guest import expected, said

from guests.initramfs import SHELL

pytestmark = pytest.mark.slow


def test_user_space_runs(everything):
    assert everything.report.domains["linux"].exit == "poweroff"
    assert said(everything.report) == expected(everything.vcpus)


@pytest.mark.again
def test_without_the_native_front_it_is_the_same(everything, monkeypatch):
    monkeypatch.setenv("DOMUS_FAST_PATH", "0")
    assert facts(run(everything.plan)) == facts(everything.report)


@pytest.mark.again
def test_taken_out_of_its_run_at_any_moment_it_goes_on_as_if_nothing_had_been(everything, tmp_path):
    check(everything.plan, tmp_path, 4, everything.report)


@pytest.mark.again
def test_a_shell_on_the_console_answers_what_is_typed(host, kernel, ramdisk):
    typed = [{"expect": "# ", "send": "echo $((6 * 7)) answers\n"}, {"expect": "42 answers"},
             {"expect": "# ", "send": "exit\n"}]
    linux = host.domain(kernel, name="linux", ramdisk=ramdisk(SHELL), input=typed, type="pv", memory="256MiB",
                        cmdline="console=hvc0 earlyprintk=xen")
    host.run(timeout=240)
    assert linux.exit == "poweroff"
    assert "42 answers" in linux.console
