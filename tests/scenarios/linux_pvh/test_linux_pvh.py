"""The same Linux kernel, unmodified, boots as a PVH guest: with a local APIC, and ACPI tables."""

import pytest
from going_on import check, facts, run
from linux_guest import expected, said
from moving import Nodes, wander

from guests.initramfs import SHELL
from toolstack import local
from toolstack.testing import Host

pytestmark = pytest.mark.slow

_APIC = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo "processor: $(grep -o 'x2apic' /proc/cpuinfo)"
echo "tables:" $(ls /sys/firmware/acpi/tables)
echo "timer: $(cat /sys/devices/system/clockevents/clockevent0/current_device)"
{end}
"""

_HOTPLUG = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
count() { echo "processors: $(grep -c ^processor /proc/cpuinfo)"; }
count
for round in 1 2; do
    echo 0 > /sys/devices/system/cpu/cpu2/online; count
    echo 1 > /sys/devices/system/cpu/cpu2/online; count
done
for part in 1 2 3 4; do (seq 1 10000 | sort -n | tail -n 1 >sum$part) & done
wait
echo "summed: $(cat sum? | sort -u)"
poweroff -f
"""


def test_user_space_runs(everything):
    assert everything.report.domains["linux"].exit == "poweroff"
    assert said(everything.report) == expected(everything.vcpus)


def test_its_processors_come_up_and_agree_on_the_time(everything):
    """Linux starts further ones by INIT and start-up messages, in real mode."""
    log = "\n".join(everything.report.domains["linux"].console)
    assert f"smp: Brought up 1 node, {everything.vcpus} CPU" in log
    assert "TSC unstable" not in log


def test_it_ends_through_its_acpi_tables(everything):
    console = everything.report.domains["linux"].console
    assert any("ACPI: PM: Preparing to enter system sleep state S5" in line for line in console)
    assert "reboot: Power down" in console[-1]


@pytest.mark.again
def test_another_run_is_the_same(everything):
    assert facts(run(everything.plan)) == facts(everything.report)


@pytest.mark.again
def test_without_the_native_front_it_is_the_same(everything, monkeypatch):
    monkeypatch.setenv("DOMUS_FAST_PATH", "0")
    assert facts(run(everything.plan)) == facts(everything.report)


def test_taken_out_of_its_run_at_any_moment_it_goes_on_as_if_nothing_had_been(everything, tmp_path):
    check(everything.plan, tmp_path, 4, everything.report)


@pytest.mark.again
def test_it_moves_from_node_to_node_and_does_not_notice(configs, kernel, ramdisk):
    digests = []
    for runtime in (local, Nodes(2, wander(1, [1], 2))):
        host = Host(runtime, configs)
        host.domain(kernel, name="linux", memory="256MiB", cmdline="console=hvc0 cryptomgr.notests",
                    ramdisk=ramdisk(_APIC.format(end="poweroff -f")))
        report = host.run(timeout=240)
        assert host.failures == []
        digests.append(report.digest)
    assert report.migrations
    assert digests[0] == digests[1]


@pytest.mark.again
def test_a_processor_leaves_and_comes_back(host, kernel, ramdisk):
    """It halts with interrupts off; INIT and a start-up message bring it back."""
    linux = host.domain(kernel, name="linux", memory="256MiB", vcpus=4, ramdisk=ramdisk(_HOTPLUG),
                        cmdline="console=hvc0 cryptomgr.notests")
    host.run(timeout=240)
    assert (linux.exit, host.failures) == ("poweroff", [])
    assert [line for line in linux.console if line.startswith("processors:")] == [
        f"processors: {count}" for count in (4, 3, 4, 3, 4)]
    assert "summed: 10000" in linux.console


@pytest.mark.parametrize(("end", "exit"), [("poweroff -f", "poweroff"), ("reboot -f", "reboot"), ("exit", "crash")])
def test_it_uses_what_it_was_given_and_ends_as_it_wants(host, kernel, ramdisk, end, exit):
    host.configure(expect={"linux": {"exit": exit}})
    linux = host.domain(kernel, name="linux", memory="256MiB", ramdisk=ramdisk(_APIC.format(end=end)),
                        cmdline="console=hvc0 cryptomgr.notests panic=-1")
    host.run(timeout=240)
    assert (linux.exit, host.failures) == (exit, [])
    assert [line for line in linux.console if line.startswith(("processor:", "tables:", "timer:"))] == [
        "processor: x2apic", "tables: APIC DSDT FACP data dynamic", "timer: xen"]


def test_a_shell_on_the_console_answers_what_is_typed(host, kernel, ramdisk):
    typed = [{"expect": "# ", "send": "echo $((6 * 7)) answers\n"}, {"expect": "42 answers"},
             {"expect": "# ", "send": "exit\n"}]
    linux = host.domain(kernel, name="linux", ramdisk=ramdisk(SHELL), input=typed, memory="256MiB",
                        cmdline="console=hvc0 earlyprintk=xen")
    host.run(timeout=240)
    assert linux.exit == "poweroff"
    assert "42 answers" in linux.console
