"""The measurement of hand-overs between nodes: its figures are those of the link, and what is promised is counted."""

import pytest

from experiments import node_link
from experiments.node_link import Row, measure, table


@pytest.mark.parametrize("how", list(node_link.WIRES))
def test_every_way_takes_the_baton_there_and_back(how: str) -> None:
    row = measure(how, 20, 1, 64)
    assert 0 < row.baton <= row.slow * 20
    if row.messages is None or row.size is None:
        assert not how.startswith("the link")
    else:
        assert row.messages == 1
        assert 4096 < row.size < 6 * 1024


def test_memory_goes_over_the_link() -> None:
    assert node_link.measure_bulk(1) > 0


def test_the_table_says_what_a_hand_over_carries() -> None:
    lines = table([Row("the link", 20e-6, 50e-6, 97e-6, 1.0, 4900), Row("Ray actor call", 9e-4, 1e-3, 2e-3)])
    assert lines[2].split() == ["the", "link", "20.0", "us", "50.0", "us", "97.0", "us", "20,000", "1.00", "messages,",
                                "4,900", "B"]
    assert lines[3].split()[-1] == "1,000"


def test_a_count_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        node_link.main(["--count", "0"])
    assert "--count: expected 1 or more, got 0" in capsys.readouterr().err
