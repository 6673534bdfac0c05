"""The measurement of moves between nodes: its figures are those of the moves, and what is promised is counted."""

import pytest

from experiments import migration, node_processes
from experiments.migration import Moves, measure, measure_checkpoint
from toolstack.report import MigrationReport


@pytest.mark.parametrize("guest", list(migration.GUESTS))
def test_a_guest_moves_to_and_fro_with_what_it_has_in_memory(guest: str) -> None:
    found = measure(node_processes, guest, "8MiB", 2)
    assert [(report.source, report.target) for report in found.reports] == [(0, 1), (1, 0)]
    for report in found.reports:
        assert report.copied_bytes + report.rest_bytes > 6 << 20
        assert report.down_ns > 0
        assert report.copy_ns > 0


def test_a_guest_that_sleeps_has_nothing_left_to_copy_while_it_stands_still() -> None:
    last = measure(node_processes, "idle", "8MiB", 2).reports[-1]
    assert last.rest_bytes < 1 << 20 < last.copied_bytes


def test_a_checkpoint_is_written_and_read() -> None:
    stop = measure_checkpoint("8MiB")
    assert min(stop) > 0


def test_a_line_has_the_median_and_the_largest_and_means_of_what_went_over() -> None:
    reports = [MigrationReport("traveller", 0, 1, 0, down, 2, 64 << 20, 8 << 20, 250_000_000)
               for down in (80_000_000, 100_000_000, 290_000_000)]
    assert Moves("busy", reports).line().split() == [
        "busy", "3", "100", "ms", "290", "ms", "2", "64.0", "MiB", "8.0", "MiB", "256", "MiB/s"]


def test_no_moves_are_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        migration.main(["--moves", "0"])
    assert "--moves: expected 1 or more, got 0" in capsys.readouterr().err
