"""A 32-bit paravirtual writer and a 64-bit PVH reader share pages; every kind of guest makes the same checks."""

import re

KINDS = {"pvh64": {"type": "pvh"}, "pv64": {"type": "pv"}, "pv32": {"type": "pv", "bits": 32}}


def checks(guest):
    """What a guest checked, without the numbers that differ from kind to kind."""
    return [re.sub(r"[0-9]+", "N", line) for line in guest.console if line.startswith(("PASS", "FAIL"))]


def test_a_32_bit_writer_and_a_64_bit_reader_share_pages(host, configs):
    guests = host.load(configs / "mixed.yaml")
    host.run(timeout=30)
    assert host.failures == []
    assert [guest.exit for guest in guests.values()] == ["poweroff", "poweroff"]


def test_all_kinds_make_the_same_checks_and_pass_them(host):
    pairs = []
    for name, kind in KINDS.items():
        one, other = f"writer-{name}", f"reader-{name}"
        pairs.append((host.domain("writer", name=one, cmdline=f"peer=${{{other}.domid}}", memory=16, **kind),
                      host.domain("reader", name=other, cmdline=f"peer=${{{one}.domid}}", memory=16, **kind)))
    host.run(timeout=60)
    assert host.failures == []
    expected = [checks(guest) for guest in pairs[0]]
    assert [len(lines) for lines in expected] == [13, 13]
    assert all(line.startswith("PASS") for lines in expected for line in lines)
    assert [[checks(guest) for guest in pair] for pair in pairs[1:]] == [expected, expected]


def test_it_is_the_same_at_each_run(host, configs):
    host.load(configs / "mixed.yaml")
    assert host.run(timeout=30).digest == host.run(timeout=30).digest
