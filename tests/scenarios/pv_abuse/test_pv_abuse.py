"""Hostile PV guests of both widths beside two that mind their own business: those must not notice."""

import pytest

from guests.build import build_from

PV = pytest.mark.parametrize("kind", ["pv64", "pv32"])
NEIGHBOURS = ("writer", "reader")
CRASHES = {
    "stack": "kernel stack|cannot be entered", "callback": "kernel stack|cannot be entered",
    "iret": "iret to", "ring": "kernel stack|crash", "table": "kernel stack|cannot be entered",
    "unmap": "kernel stack|cannot be entered", "nothing": "unhandled exception #UD",
    "handlers": "kernel stack|cannot be entered", "balloon": "kernel stack|cannot be entered",
    "nmi": "kernel stack|cannot be entered", "descend": "kernel stack|cannot be entered",
    "failsafe": "crash|iret to user mode", "user": "crash|iret to user mode"}
"""Ways to end, and what the report says of each (`crash`: the guest's own handler gives up)."""


def add_neighbours(host, configs):
    host.configure(hypercalls=[str(configs / "hypercalls" / "greet.py")])
    for name, peer in zip(NEIGHBOURS, NEIGHBOURS[::-1], strict=True):
        host.domain(name, cmdline=f"peer=${{{peer}.domid}}", memory="16MiB")


@pytest.fixture(scope="module")
def undisturbed(configs):
    """The digests of the neighbours when they are alone."""
    from toolstack.runtime import load_runtime
    from toolstack.testing import Host

    host = Host(load_runtime("local"), configs)
    add_neighbours(host, configs)
    host.run(timeout=30)
    assert host.failures == []
    return [host.report.domains[name].digest for name in NEIGHBOURS]


@pytest.fixture
def attack(host, configs, request, undisturbed):
    """Runs guests beside the neighbours, whose part of the trace must stay as it is; gives the guests."""
    def run(program, kind, *cmdlines, timeout=60, **settings):
        add_neighbours(host, configs)
        image = build_from(request.path.parent / f"{program}.c", kind)
        guests = [host.domain(image, name=f"{program}-{number}", type="pv", memory="16MiB", cmdline=cmdline, **settings)
                  for number, cmdline in enumerate(cmdlines)]
        host.run(timeout=timeout)
        assert [host.report.domains[name].exit for name in NEIGHBOURS] == ["poweroff"] * 2
        assert [host.report.domains[name].digest for name in NEIGHBOURS] == undisturbed
        assert [line for line in host.hypervisor_log if "internal error" in line] == []
        return guests

    return run


@PV
def test_whatever_it_tries_is_refused_and_nobody_notices(attack, kind):
    guest, = attack("attack", kind, "")
    assert not [line for line in guest.console if line.startswith("FAIL")]
    assert guest.exit == "poweroff"


@PV
def test_one_that_crashes_by_its_own_page_tables_crashes_alone(attack, host, kind):
    guests = attack("ends", kind, *(f"how={how}" for how in CRASHES))
    assert {guest.exit for guest in guests} == {"crash"}
    for guest, how in zip(guests, CRASHES, strict=True):
        told = [line for line in host.hypervisor_log if line.startswith(f"domain {guest.domid} crashed: ")]
        wanted = CRASHES[how].split("|")
        assert ("crash" in wanted and not told) or any(words in line for words in wanted for line in told), how


@PV
def test_endless_work_in_one_hypercall_leaves_the_others_their_turn(attack, kind):
    guest, = attack("ends", kind, "how=endless", timeout=3)
    assert guest.exit == "running"


@PV
def test_random_hypercalls_are_answered(attack, kind):
    guests = attack("fuzz", kind, *(f"seed={seed} count=800" for seed in range(1, 5)))
    assert [guest.exit for guest in guests] == ["poweroff"] * 4
    for guest in guests:
        assert any(line.startswith("fuzz: 800 hypercalls") for line in guest.console)


@PV
@pytest.mark.parametrize("wild", [0, 1])
def test_random_bytes_run_as_a_kernel_until_they_crash_it(attack, kind, wild):
    guests = attack("random_pv", kind, *(f"seed={seed} count=400 wild={wild}" for seed in (1, 3, 6, 7, 8, 10, 11, 12)),
                    timeout=4)
    assert {guest.exit for guest in guests} <= {"crash", "poweroff", "running"}


@PV
def test_the_same_attacks_twice_are_the_same(host, configs, request, kind):
    image = build_from(request.path.parent / "fuzz.c", kind)
    host.domain(image, name="fuzz", type="pv", memory="16MiB", cmdline="seed=9 count=500")
    digests = {host.run(timeout=60).digest for _ in range(2)}
    assert len(digests) == 1
