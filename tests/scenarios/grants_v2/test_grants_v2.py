"""Three guests with grant tables of version 2: a page is shared, a part of one copied, and another part passed on."""

import pytest

KINDS = {"pvh64": {"type": "pvh"}, "pv64": {"type": "pv"}, "pv32": {"type": "pv", "bits": 32}}
ROLES = ("writer", "between", "reader")


def build(host, *kinds):
    """The three, each of a kind; all three know each other."""
    words = " ".join(f"{role}=${{{role}.domid}}" for role in ROLES)
    return [host.domain("grants_v2", name=role, cmdline=f"role={role} {words}", memory=16, **KINDS[kind])
            for role, kind in zip(ROLES, kinds, strict=True)]


@pytest.mark.parametrize("kinds", [
    ("pvh64", "pvh64", "pvh64"), ("pv64", "pv64", "pv64"), ("pv32", "pv32", "pv32"), ("pv32", "pvh64", "pv64"),
    ("pvh64", "pv64", "pvh64")], ids="-".join)
def test_pages_parts_and_what_is_passed_on_arrive_twice_the_same(local_host, tmp_path, kinds):
    digests = []
    for _ in range(2):
        host = local_host(tmp_path)
        writer, between, reader = build(host, *kinds)
        assert host.run(timeout=30).outcome == "finished"
        assert host.failures == []
        for guest in (writer, between, reader):
            assert guest.exit == "poweroff"
            assert not [line for line in guest.console if line.startswith("FAIL")]
        assert "PASS the reader wrote its part of a page and no more: 0 bytes wrong" in writer.console
        assert "PASS 512 bytes came, 0 wrong" in reader.console
        assert f"PASS 64 bytes came through domain {between.report.domid}, 0 wrong" in reader.console
        assert "PASS map what is passed on: GNTST_general_error" in reader.console
        assert "PASS and is taken back" in between.console
        digests.append(host.report.digest)
    assert digests[0] == digests[1]
