"""Who may call Xen by `int $0x82`, and the words that Xen pushes when it bounces a trap to a 32-bit kernel."""

import re

import pytest

from toolstack.errors import ConfigError

WORD = re.compile(r"  ([0-9a-f]{8})  ([0-9a-f]{8})  (\w+) +(.*)")


def bounces(lines):
    """By what raised it, the words of each trap: (name, value), from the lowest address on."""
    found = {}
    for line in lines:
        if line.endswith("came to ring 1 with"):
            words = found.setdefault(line.partition(": exception")[0], [])
        elif match := WORD.fullmatch(line):
            words.append((match[3], int(match[2], 16)))
    return found


@pytest.fixture
def rings(host, configs):
    guest = host.load(configs / "ring_demo.yaml")["rings"]
    host.run(timeout=30)
    assert host.failures == []
    return guest.console


def test_only_ring_1_may_call_xen(rings):
    assert "PASS int $0x82 in ring 1 calls Xen, as the hypercall page does: xen_version is 4.17" in rings
    assert "PASS int $0x82 in ring 3 is a #GP, error code 412: programs cannot call Xen" in rings
    assert not [line for line in rings if line.startswith("FAIL")]


def test_a_trap_of_ring_3_comes_with_its_stack_and_one_of_ring_1_without(rings):
    shown = bounces(rings)
    inner = ["error", "eip", "cs", "eflags"]
    assert [name for name, _ in shown["ring 1, int $0x83, which has no entry in the trap table"]] == inner
    assert [name for name, _ in shown["ring 3, int $0x82"]] == [*inner, "esp", "ss"]
    assert [name for name, _ in shown["ring 3, int3"]] == ["eip", "cs", "eflags", "esp", "ss"]


def test_the_words_say_which_ring_it_was_and_that_upcalls_were_open(rings):
    words = dict(bounces(rings)["ring 3, int $0x82"])
    assert words["error"] == 0x82 << 3 | 2
    assert (words["cs"], words["ss"]) == (0xE02B, 0xE033)
    assert words["eflags"] & 1 << 9


def test_it_is_for_no_other_kind_of_guest(host):
    host.domain("ring_demo", type="pv")
    with pytest.raises(ConfigError, match="it is written for pv32, not for pv64"):
        host.run()
