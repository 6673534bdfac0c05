"""Guests that do what guests must not: they get what Xen gives them, and nobody else notices."""

import pytest

from guests.build import build_from

ABUSES = ("void", "spin", "flood", "wild", "revoke")


@pytest.fixture(scope="module")
def undisturbed(configs):
    """The digests of the writer and the reader when they are alone."""
    from toolstack.runtime import load_runtime
    from toolstack.testing import Host

    host = Host(load_runtime("local"), configs)
    host.configure(hypercalls=["hypercalls/greet.py"])
    for name, peer in (("writer", "reader"), ("reader", "writer")):
        host.domain(name, cmdline=f"peer=${{{peer}.domid}}", memory="16MiB")
    host.run(timeout=30)
    assert host.failures == []
    return {name: domain.digest for name, domain in host.report.domains.items()}


@pytest.mark.parametrize("abuse", ABUSES)
def test_the_others_part_of_the_trace_does_not_change(host, configs, undisturbed, abuse):
    guests = host.load(configs / f"abuse_{abuse}.yaml")
    report = host.run(timeout=60)
    assert (report.outcome, host.failures) == ("finished", [])
    assert {name: guests[name].digest for name in undisturbed} == undisturbed


@pytest.fixture
def beside(host, configs, request):
    """Runs a program of this folder, `count` times, beside the writer and the reader; gives its domains.

    Where it is not `awaited`, the run ends when the two have ended.
    """
    def run(name, count=1, timeout=60, awaited=True, **settings):
        host.configure(hypercalls=[str(configs / "hypercalls" / "greet.py")])
        if not awaited:
            host.configure(expect={f"{name}-{number}": {"exit": "running"} for number in range(count)})
        for pair, peer in (("writer", "reader"), ("reader", "writer")):
            host.domain(pair, cmdline=f"peer=${{{peer}.domid}}", memory="16MiB")
        program = build_from(request.path.parent / f"{name}.c")
        guests = [host.domain(program, name=f"{name}-{number}", memory="16MiB", **settings) for number in range(count)]
        host.run(timeout=timeout)
        return guests

    return run


@pytest.mark.parametrize(("name", "count"), [("greedy", 1), ("greedy", 3), ("absent", 1), ("granted_table", 1)])
def test_who_takes_all_that_there_is_takes_it_from_nobody(host, beside, undisturbed, name, count):
    guests = beside(name, count)
    assert host.failures == []
    assert all(f"{name}: {len(guest.console) - 1} checks, 0 failed" in guest.console for guest in guests)
    assert {name: host.report.domains[name].digest for name in undisturbed} == undisturbed
    assert len({tuple(guest.console) for guest in guests}) == 1, "each gets as much"


@pytest.mark.parametrize("ring", [0, 3])
@pytest.mark.parametrize("wild", [0, 1])
def test_bytes_that_nobody_wrote_are_run_as_the_processor_would(host, beside, undisturbed, ring, wild):
    guests = beside("random_code", 2, cmdline=f"count=300 ring={ring} wild={wild}", awaited=False)
    assert {guest.exit for guest in guests} <= {"poweroff", "reboot", "crash", "running"}  # bytes can be a loop
    assert {name: host.report.domains[name].digest for name in undisturbed} == undisturbed
    assert [line for line in host.hypervisor_log if "internal error" in line] == []


@pytest.mark.parametrize(("program", "cmdline", "exit"), [
    ("abuse/void", "where=linear", "crash"),
    ("abuse/void", "where=memory", "crash"),
    ("abuse/void", "where=stack", "reboot"),
    ("abuse/triple", "", "reboot"),
])
def test_a_crash_is_reported_with_its_place(host, program, cmdline, exit):
    guest = host.domain(program, cmdline=cmdline, name="guest")
    host.run(timeout=30)
    assert guest.exit == exit
    told = [line for line in host.hypervisor_log if "internal error" in line]
    assert told == []


def test_a_triple_fault_names_what_began_it(host):
    host.domain("abuse/triple", name="guest")
    host.run(timeout=30)
    assert any("triple fault, begun by" in line and "rip 0x" in line for line in host.hypervisor_log)


def test_one_that_never_ends_is_a_timeout_not_a_hang(host):
    guest = host.domain("abuse/spin", name="guest")
    report = host.run(timeout=1)
    assert (report.outcome, guest.exit) == ("timeout", "running")
