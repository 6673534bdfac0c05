"""The course's first kernel: it finds Xen, reads the version and both clocks, and calls the added hypercall."""

import re


def times(lines, what):
    return [float(match[1]) for line in lines if (match := re.search(what + r": ([0-9.]+)", line))]


def test_a_first_kernel_does_what_the_course_asks(host, configs):
    guest = host.load(configs / "first_steps.yaml")["first_steps"]
    host.run(timeout=30)
    assert host.failures == []
    assert guest.exit == "poweroff"
    assert guest.report.hypercalls > 0


def test_the_clocks_agree_on_the_second_that_it_slept(host, configs):
    guest = host.load(configs / "first_steps.yaml")["first_steps"]
    host.run(timeout=30)
    monotonic = [time / 1e9 for time in times(guest.console, "monotonic clock")]
    wall = times(guest.console, "wall clock")
    assert 1 <= monotonic[1] - monotonic[0] < 1.001
    assert abs((wall[1] - wall[0]) - (monotonic[1] - monotonic[0])) < 1e-3


def test_the_epoch_is_the_configurations(host, configs):
    guest = host.domain("first_steps")
    host.configure(clock={"epoch": "2001-02-03T04:05:06Z"}, hypercalls=[str(configs / "hypercalls/greet.py")])
    host.run(timeout=30)
    assert int(times(guest.console, "wall clock")[0]) == 981173106


def test_a_guest_can_be_told_another_xen(host, configs):
    guest = host.load(configs / "xen411.yaml")["first_steps"]
    host.run(timeout=30)
    assert host.failures == []
    assert "XEN VERSION: major = 4 : minor = 11" in guest.console


def test_without_the_file_the_hypercall_is_not_there(host):
    guest = host.domain("first_steps")
    host.run(timeout=30)
    assert guest.exit == "poweroff"
    assert any("hypercall 56" in line and "UNIMPLEMENTED" in line for line in host.hypervisor_log)
    assert "hypercall 56: error 38 (nobody added it)" in guest.console
