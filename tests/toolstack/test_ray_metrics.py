"""What Ray's metrics are told: what has changed in the tables, by domain."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from toolstack_fakes import FakePrograms

from toolstack.load import load

pytestmark = pytest.mark.ray  # which the module imports


class Told:
    """In the place of Ray's metrics: what each was told last, or in all, by its labels' values."""

    all: dict[str, dict[tuple[str, ...], float]]

    def __init__(self, name: str, description: str, tag_keys: Sequence[str]) -> None:
        self._keys, self._values = tag_keys, self.all.setdefault(name, {})

    def inc(self, value: float, tags: Mapping[str, str]) -> None:
        key = tuple(tags[key] for key in self._keys)
        self._values[key] = self._values.get(key, 0) + value

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        self._values[tuple(tags[key] for key in self._keys)] = value


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[tuple[str, ...], float]]:
    from toolstack import ray_metrics

    monkeypatch.setattr(Told, "all", {}, raising=False)
    monkeypatch.setattr(ray_metrics, "Counter", Told)
    monkeypatch.setattr(ray_metrics, "Gauge", Told)
    return Told.all


def test_what_changed_is_told_by_domain_and_hand_overs_too_where_a_process_has_one(tmp_path: Path, told) -> None:
    from toolstack.ray_metrics import Publisher

    (tmp_path / "seen.yaml").write_text(
        "domains:\n"
        "  alone: {kernel: writer, type: pv, vcpus: 2}\n"
        "  packed: {kernel: reader, count: 2, placement: {actor: box}}\n")
    plan = load(str(tmp_path / "seen.yaml"), FakePrograms()).plan()
    assert [actor.name for actor in plan.actors] == ["alone", "box"]
    # A row for domain 0, two for the first domain.
    vcpus = SimpleNamespace(**{name: [0] * 5 for name in ("hypercalls", "events_sent", "events_received", "work")})
    domains = SimpleNamespace(vcpu_base=[0, 1, 3, 4], vcpu_count=[1, 2, 1, 1])
    batons = SimpleNamespace(given=[0, 0, 0])
    seconds: Iterator[float] = iter((0.0, 2.0, 4.0, 6.0))
    publisher = Publisher(plan, SimpleNamespace(vcpus=vcpus, domains=domains), batons, lambda: next(seconds))  # type: ignore[arg-type]
    vcpus.hypercalls[1:] = [1, 2, 10, 20]
    vcpus.work[1] = 80_000_000
    batons.given[:] = [7, 5, 3]
    publisher.publish()
    assert told["domus_hypercalls"] == {("seen", "alone"): 3, ("seen", "packed-0"): 10, ("seen", "packed-1"): 20}
    assert told["domus_mips"] == {("seen", "alone"): 10}
    assert told["domus_hand_overs"] == {
        ("seen", "", "hypervisor"): 7, ("seen", "alone", "alone"): 5, ("seen", "", "box"): 3}
    vcpus.hypercalls[2] += 4
    batons.given[1] += 1
    publisher.publish()
    assert told["domus_hypercalls"]["seen", "alone"] == 7
    assert told["domus_hand_overs"]["seen", "alone", "alone"] == 6
    assert told["domus_mips"] == {("seen", "alone"): 0}, "it has stopped"
