"""A few runs of experiments.kill: one of each kind, and nothing wrong in any."""

import pytest

from experiments.kill import Killer
from experiments.kill_trial import Kind


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Killer:
    return Killer(tmp_path_factory.mktemp("front"))


@pytest.mark.parametrize("kind", Kind, ids=[kind.name for kind in Kind])
def test_who_is_left_finds_nothing_wrong(killer: Killer, kind: Kind) -> None:
    killed = 0
    for number in range(3):
        trial = killer.trial(list(Kind).index(kind) + number * len(Kind))
        assert trial.kind == kind
        assert trial.problems == []
        killed += trial.killed
    assert killed or kind in (Kind.FRONT, Kind.ROUND, Kind.INSTANT), "nobody came to where he should have died"
