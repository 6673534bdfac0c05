"""A guest that finds its ACPI tables by the memory map can switch itself off by them."""

import pytest

from guests.build import build_from
from toolstack.runtime import load_runtime


@pytest.mark.parametrize(("how", "exit"), [("off", "poweroff"), ("reset", "reboot")])
def test_a_port_ends_the_domain(host, request, how, exit):
    host.configure(expect={"power": {"exit": exit}})
    power = host.domain(build_from(request.path.parent / "power.c"), name="power", cmdline=f"how={how}")
    host.run(timeout=30)
    assert (power.exit, power.console, host.failures) == (exit, ["sleep control b004, reset cf9"], [])


def test_other_values_do_nothing(host, request):
    power = host.domain(build_from(request.path.parent / "power.c"), name="power", cmdline="how=nearly")
    host.run(timeout=30)
    assert "still there, status 0" in power.console
    assert power.exit == "crash"


def test_who_stays_sees_nothing_of_it(host, configs, request):
    def digests(beside):
        from toolstack.testing import Host

        runs = Host(load_runtime("local"), configs) if beside is None else host
        for name, peer, role in (("ping", "pong", "ping"), ("pong", "ping", "pong")):
            runs.domain("pingpong", name=name, memory="16MiB", cmdline=f"role={role} peer=${{{peer}.domid}} rounds=50")
        if beside is not None:
            runs.domain(beside, name="power", memory="16MiB")
        runs.run(timeout=30)
        return {name: runs.report.domains[name].digest for name in ("ping", "pong")}

    assert digests(build_from(request.path.parent / "power.c")) == digests(None)
