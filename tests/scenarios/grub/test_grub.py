"""Debian's GRUB, unmodified, as a PV guest of either width and as a PVH guest that stays in 32-bit mode without paging:
it comes to its prompt and answers what is typed.

No more than 1024 characters can be typed to one GRUB 2.06: it does not wrap its index into the console's input ring,
and from then on reads what it has printed itself.
"""

import pytest
from shipped import missing

# The configuration's name: the image, its type, and what the image calls its processor and its platform.
KINDS = {
    "grub_pv64": ("/usr/lib/grub-xen/grub-x86_64-xen.bin", "pv", "x86_64 xen"),
    "grub_pv32": ("/usr/lib/grub-xen/grub-i386-xen.bin", "pv", "i386 xen"),
    "grub_pvh32": ("/usr/lib/grub-xen/grub-i386-xen_pvh.bin", "pvh", "i386 xen_pvh"),
}


@pytest.fixture(params=KINDS)
def kind(request):
    absent = missing(request.param)
    if absent:
        pytest.skip(f"{absent[0]} is not here: it is in Debian's package grub-xen-host")
    return request.param


@pytest.fixture
def grub(host, kind):
    """Boots GRUB and types; gives the domain and the run's report."""
    image, type_, _ = KINDS[kind]

    def boot(*steps, timeout=60, exit="poweroff"):
        host.configure(expect={"grub": {"exit": exit}})
        domain = host.domain(image, name="grub", type=type_, input=list(steps))
        return domain, host.run(timeout=timeout)
    return boot


def test_the_shipped_configuration_does_what_it_says(host, configs, kind):
    guests = host.load(configs / f"{kind}.yaml")
    report = host.run(timeout=60)
    assert (report.outcome, host.failures) == ("finished", [])
    assert guests["grub"].exit == "poweroff"
    assert guests["grub"].report.input is None


def test_commands_are_answered(grub, kind):
    domain, _ = grub({"expect": "grub> ", "send": "set greeting=hello\n"},
                     {"expect": "grub> ", "send": "echo $greeting $grub_cpu $grub_platform\n"},
                     {"expect": "/^hello /"},
                     {"expect": "grub> ", "send": "ls\n"},
                     {"expect": r"/^\(memdisk\)/"},
                     {"expect": "grub> ", "send": "nonsense\n"},
                     {"expect": "can't find command `nonsense'."},
                     {"expect": "grub> ", "send": "halt\n"})
    assert (domain.exit, domain.report.input) == ("poweroff", None)
    assert f"hello {KINDS[kind][2]}" in domain.console


def test_a_second_run_is_the_first_again(host, configs, kind):
    host.load(configs / f"{kind}.yaml")
    first, second = host.run(timeout=60), host.run(timeout=60)
    assert first.digest == second.digest
    assert first.domains["grub"].console == second.domains["grub"].console


@pytest.mark.ray
def test_on_ray_it_is_the_same(host, ray_host, configs, kind):
    distributed = ray_host(configs)
    for each in (host, distributed):
        each.load(configs / f"{kind}.yaml")
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
