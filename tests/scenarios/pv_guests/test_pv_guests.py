"""The repository's programs as paravirtual guests of both widths, alone and mixed with PVH ones."""

from itertools import product

import pytest

KINDS = {"pvh64": {"type": "pvh"}, "pv64": {"type": "pv"}, "pv32": {"type": "pv", "bits": 32}}
PV = pytest.mark.parametrize("kind", ["pv64", "pv32"])
MIXES = pytest.mark.parametrize(("one", "other"), list(product(KINDS, KINDS))[1:])


@PV
def test_first_steps(host, kind):
    host.configure(clock={"epoch": "2026-01-01T00:00:00Z"})
    guest = host.domain("first_steps", memory=16, **KINDS[kind])
    host.run(timeout=30)
    assert host.failures == []
    text = "\n".join(guest.console)
    assert 'Xen hypervisor detected: "XenVMMXenVMM" at CPUID leaf 0x40000000' in text
    assert "XEN VERSION: major = 4 : minor = 17" in text
    assert "wall clock: 1767225601." in text


@MIXES
def test_guests_of_any_kinds_share_pages(host, one, other):
    writer = host.domain("writer", cmdline="peer=${reader.domid}", memory=16, **KINDS[one])
    reader = host.domain("reader", cmdline="peer=${writer.domid}", memory=16, **KINDS[other])
    host.run(timeout=30)
    assert host.failures == []
    assert "PASS the reader's answer: 16384 bytes, 0 wrong" in writer.console
    assert "PASS the writer's pages: 32768 bytes, 0 wrong" in reader.console
    assert not [line for line in writer.console + reader.console if line.startswith("FAIL")]


@pytest.mark.parametrize("mode", ["poll", "block"])
@MIXES
def test_guests_of_any_kinds_signal_each_other(host, one, other, mode):
    ping = host.domain("pingpong", name="ping", cmdline=f"role=ping peer=${{pong.domid}} rounds=100 mode={mode}",
                       memory=16, **KINDS[one])
    host.domain("pingpong", name="pong", cmdline=f"role=pong peer=${{ping.domid}} mode={mode}", memory=16,
                **KINDS[other])
    host.run(timeout=30)
    assert host.failures == []
    assert f"pingpong-{mode}: 100 rounds" in "\n".join(ping.console)


@pytest.mark.parametrize("name", ["mixed", "ring_demo"])
def test_everything_that_a_configuration_expects_happens(host, configs, name):
    host.load(configs / f"{name}.yaml")
    assert host.run(timeout=30).outcome == "finished"
    assert host.failures == []


@PV
@pytest.mark.parametrize("memory", [8, 64, 640])
def test_all_of_a_guest_s_memory_is_its_own(host, kind, memory):
    guest = host.domain("first_steps", memory=memory, **KINDS[kind])
    host.run(timeout=30)
    assert guest.exit == "poweroff"


def test_two_runs_are_the_same(host):
    digests = []
    host.domain("writer", cmdline="peer=${reader.domid}", memory=16, **KINDS["pv32"])
    host.domain("reader", cmdline="peer=${writer.domid}", memory=16, **KINDS["pv64"])
    for _ in range(2):
        host.run(timeout=30)
        digests.append(host.report.digest)
    assert digests[0] == digests[1]


@pytest.mark.ray
def test_actors_build_paravirtual_guests_at_once(host, ray_host, tmp_path):
    digests = []
    for each in (host, ray_host(tmp_path)):
        for number, kind in enumerate(("pv32", "pv64", "pv32")):
            each.domain("first_steps", name=f"guest-{number}", memory=16, **KINDS[kind])
        each.run(timeout=120)
        assert each.failures == []
        digests.append(each.report.digest)
    assert digests[0] == digests[1]
