"""Two guests share pages both ways, signal each other, are refused what is not theirs, and power off."""

import re

import pytest


def test_everything_that_the_configuration_expects_happens(host, configs):
    guests = host.load(configs / "two_guests.yaml")
    report = host.run(timeout=30)
    assert (report.outcome, host.failures) == ("finished", [])
    for guest in guests.values():
        assert guest.exit == "poweroff"
        assert not [line for line in guest.console if line.startswith("FAIL")]


def test_the_report_counts_what_they_did(host, configs):
    guests = host.load(configs / "two_guests.yaml")
    host.run(timeout=30)
    writer, reader = guests["writer"].report, guests["reader"].report
    assert (writer.domid, reader.domid) == (1, 2)
    assert reader.grants_mapped >= 8
    assert writer.grants_mapped >= 4
    assert writer.events_received
    assert reader.events_received
    assert writer.work > 0 < writer.virtual_time_ns


@pytest.mark.parametrize("pages", [1, 16])
def test_any_number_of_pages_arrives_whole(host, configs, pages):
    host.configure(hypercalls=[str(configs / "hypercalls/greet.py")])
    writer = host.domain("writer", cmdline=f"peer=${{reader.domid}} pages={pages}")
    reader = host.domain("reader", cmdline="peer=${writer.domid}")
    host.run(timeout=30)
    assert host.failures == []
    assert f"PASS the writer's pages: {pages * 8192} bytes, 0 wrong" in reader.console
    assert f"PASS the reader's answer: {pages * 4096} bytes, 0 wrong" in writer.console


def test_a_reader_alone_gives_up(host, configs):
    host.configure(hypercalls=[str(configs / "hypercalls/greet.py")])
    reader = host.domain("reader", cmdline="peer=7 wait=1")
    host.run(timeout=30)
    assert reader.exit != "poweroff"
    assert host.report.outcome == "finished"


def test_two_pairs_do_not_mix(host, configs):
    host.configure(hypercalls=[str(configs / "hypercalls/greet.py")])
    for pair in ("a", "b"):
        host.domain("writer", name=f"writer-{pair}", cmdline=f"peer=${{reader-{pair}.domid}}")
        host.domain("reader", name=f"reader-{pair}", cmdline=f"peer=${{writer-{pair}.domid}}")
    host.run(timeout=30)
    assert host.failures == []
    checks = [line for domain in host.report.domains.values() for line in domain.console if "checks" in line]
    assert all(re.fullmatch(r"(writer|reader): [0-9]+ checks, 0 failed", line) for line in checks)
    assert len(checks) == 4
