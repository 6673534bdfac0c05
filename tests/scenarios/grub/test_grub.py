"""Debian's GRUB, unmodified, as a PV guest of either width: it comes to its prompt and answers what is typed.

No more than 1024 characters can be typed to one GRUB 2.06: it does not wrap its index into the console's input ring,
and from then on reads what it has printed itself.
"""

import pytest
from shipped import missing

WIDTHS = [64, 32]
IMAGES = {64: "/usr/lib/grub-xen/grub-x86_64-xen.bin", 32: "/usr/lib/grub-xen/grub-i386-xen.bin"}


@pytest.fixture(params=WIDTHS, ids=["64-bit", "32-bit"])
def width(request):
    absent = missing(f"grub_pv{request.param}")
    if absent:
        pytest.skip(f"{absent[0]} is not here: it is in Debian's package grub-xen-host")
    return request.param


@pytest.fixture
def grub(host, width):
    """Boots GRUB and types; gives the domain and the run's report."""
    def boot(*steps, timeout=60, exit="poweroff"):
        host.configure(expect={"grub": {"exit": exit}})
        domain = host.domain(IMAGES[width], name="grub", type="pv", input=list(steps))
        return domain, host.run(timeout=timeout)
    return boot


def test_the_shipped_configuration_does_what_it_says(host, configs, width):
    guests = host.load(configs / f"grub_pv{width}.yaml")
    report = host.run(timeout=60)
    assert (report.outcome, host.failures) == ("finished", [])
    assert guests["grub"].exit == "poweroff"
    assert guests["grub"].report.input is None


def test_commands_are_answered(grub, width):
    domain, _ = grub({"expect": "grub> ", "send": "set greeting=hello\n"},
                     {"expect": "grub> ", "send": "echo $greeting $grub_cpu $grub_platform\n"},
                     {"expect": "/^hello /"},
                     {"expect": "grub> ", "send": "ls\n"},
                     {"expect": r"/^\(memdisk\)/"},
                     {"expect": "grub> ", "send": "nonsense\n"},
                     {"expect": "can't find command `nonsense'."},
                     {"expect": "grub> ", "send": "halt\n"})
    assert (domain.exit, domain.report.input) == ("poweroff", None)
    assert f"hello {'x86_64' if width == 64 else 'i386'} xen" in domain.console


def test_a_second_run_is_the_first_again(host, configs, width):
    host.load(configs / f"grub_pv{width}.yaml")
    first, second = host.run(timeout=60), host.run(timeout=60)
    assert first.digest == second.digest
    assert first.domains["grub"].console == second.domains["grub"].console


@pytest.mark.ray
def test_on_ray_it_is_the_same(host, ray_host, configs, width):
    distributed = ray_host(configs)
    for each in (host, distributed):
        each.load(configs / f"grub_pv{width}.yaml")
        each.run(timeout=60)
        assert each.failures == []
    assert host.report.digest == distributed.report.digest
    assert host.report.domains["grub"].console == distributed.report.domains["grub"].console


def test_typing_takes_the_time_that_it_is_told_to(grub):
    domain, _ = grub({"expect": "grub> ", "send": "halt\n", "after": "50ms"})
    slow = domain.report.virtual_time_ns
    assert domain.exit == "poweroff"
    assert slow > 50_000_000


def test_a_prompt_that_never_comes_is_told(grub, host):
    domain, report = grub({"expect": "login: ", "send": "root\n"}, timeout=1)
    assert (report.outcome, domain.report.input) == ("timeout", "input[0] waits for 'login: '")
    assert "grub: expected all of its input to be typed, but input[0] waits for 'login: '" in host.failures
