"""A guest that looks into its local APIC finds what the manual says, whatever the clock's frequency."""

import pytest

from guests.build import build_from


@pytest.mark.parametrize("frequency", ["1GHz", "2.4GHz", "333MHz"])
def test_the_processors_self_test_finds_nothing_wrong_with_it(host, frequency):
    host.configure(clock={"frequency": frequency})
    guest = host.domain("abuse/selftest", cmdline="only=apic", memory="16MiB")
    host.run(timeout=30)
    assert [line for line in guest.console if line.startswith("FAIL")] == []
    assert (guest.exit, guest.console[-1]) == ("poweroff", "selftest: 24 checks, 0 failed")


def test_interrupts_without_a_table_are_one_triple_fault(host, request):
    host.configure(expect={"guest": {"exit": "reboot"}})
    guest = host.domain(build_from(request.path.parent / "no_table.c"), name="guest", memory="16MiB")
    host.run(timeout=30)
    assert (guest.exit, guest.console, host.failures) == ("reboot", [], [])
    assert len([line for line in host.hypervisor_log if "triple fault" in line]) == 1
