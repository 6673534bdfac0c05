"""A number back and forth through a granted page and an event channel."""

import pytest


@pytest.mark.parametrize("mode", ["poll", "block"])
@pytest.mark.parametrize("rounds", [1, 300])
def test_every_round_comes_back(host, mode, rounds):
    ping = host.domain("pingpong", name="ping", cmdline=f"role=ping peer=${{pong.domid}} rounds={rounds} mode={mode}")
    pong = host.domain("pingpong", name="pong", cmdline=f"role=pong peer=${{ping.domid}} mode={mode}")
    host.run(timeout=30)
    assert host.failures == []
    assert f"pingpong-{mode}: {rounds} rounds" in "\n".join(ping.console)
    assert f"pingpong-{mode}: {rounds} rounds" in "\n".join(pong.console)
    assert ping.report.events_sent >= rounds
    assert pong.report.events_sent >= rounds


def test_blocking_is_by_upcall_and_polling_is_not(host):
    upcalls = {}
    for mode in ("poll", "block"):
        host.domain("pingpong", name=f"ping-{mode}", cmdline=f"role=ping peer=${{pong-{mode}.domid}} mode={mode}")
        host.domain("pingpong", name=f"pong-{mode}", cmdline=f"role=pong peer=${{ping-{mode}.domid}} mode={mode}")
    host.run(timeout=60)
    assert host.failures == []
    upcalls = {name: domain.events_received for name, domain in host.report.domains.items()}
    assert upcalls["ping-block"] >= 1000
    assert upcalls["pong-block"] >= 1000
    assert upcalls["ping-poll"] < 20 > upcalls["pong-poll"]


def test_the_host_clock_does_as_well(host):
    host.configure(clock={"mode": "host"})
    host.domain("pingpong", name="ping", cmdline="role=ping peer=${pong.domid} rounds=200 mode=block")
    host.domain("pingpong", name="pong", cmdline="role=pong peer=${ping.domid} mode=block")
    host.run(timeout=30)
    assert host.failures == []
