"""A guest that distrusts its clock finds nothing, whatever the frequency, and whoever else runs."""

import pytest


def nothing_failed(domain):
    return not [line for line in domain.console if line.startswith("FAIL")] and domain.exit == "poweroff"


@pytest.mark.parametrize("frequency", ["1GHz", "2.4GHz", "333MHz", "3.9GHz"])
def test_the_clock_is_right_at_any_frequency(host, frequency):
    host.configure(clock={"frequency": frequency})
    guest = host.domain("clockwatch", cmdline="reads=5000 timers=10")
    host.run(timeout=60)
    assert nothing_failed(guest), guest.console


def test_the_clock_is_right_beside_a_guest_that_never_yields(host):
    host.configure(expect={"spin": {"exit": "running"}})
    guest = host.domain("clockwatch", cmdline="reads=2000 timers=5")
    host.domain("abuse/spin", name="spin")
    host.run(timeout=60)
    assert nothing_failed(guest), guest.console


def test_the_hosts_clock_never_goes_back_either(host):
    host.configure(clock={"mode": "host"})
    # A busy machine may let timers come late: that is no fault of the clock.
    guest = host.domain("clockwatch", cmdline="reads=2000 timers=3 limit=1000000")
    host.run(timeout=60)
    assert nothing_failed(guest), guest.console
