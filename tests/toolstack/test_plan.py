"""What a good configuration means."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolstack_fakes import FakePrograms

from hypervisor.typed_input import InputStep
from toolstack import quantities
from toolstack.errors import ConfigError
from toolstack.load import from_data, from_options, load
from toolstack.plan import CheckpointPlan, ClockPlan, Expectation, HostPlan
from toolstack.references import Directory

EPOCH_2026 = 1_767_225_600 * 10**9


def plan(folder: Path, text: str, **overrides: Any) -> HostPlan:
    file = folder / "host.yaml"
    file.write_text(text)
    return load(str(file), FakePrograms()).plan(**overrides)


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    host = plan(tmp_path, "domains: {writer: {kernel: writer}}")
    assert (host.name, host.seed, host.memory, host.xen_version) == ("host", 0, 64 << 20, (4, 17))
    assert host.clock == ClockPlan("virtual", EPOCH_2026, 10**9)
    domain = host.domains[0]
    assert (domain.name, domain.domid, domain.type, domain.cmdline) == ("writer", 1, "pvh", "")
    assert (domain.memory, domain.vcpus, domain.ramdisk, domain.awaited) == (64 << 20, 1, None, True)
    assert host.expect == {"writer": Expectation()}


def test_what_is_typed_arrives_in_bytes_and_nanoseconds(tmp_path: Path) -> None:
    host = plan(
        tmp_path,
        """
domains:
  grub:
    kernel: writer
    count: 2
    input:
      - {expect: "> ", send: "ls\\n", after: 1.5 ms}
      - expect: /^größe$/
      - send: 'é\\n'
""",
    )
    steps = (InputStep("> ", b"ls\n", 1_500_000), InputStep("/^größe$/"), InputStep(None, "é\\n".encode()))
    assert [domain.input for domain in host.domains] == [steps, steps]


@pytest.mark.parametrize(
    ("text", "nanoseconds"), [("0s", 0), ("7ns", 7), ("2us", 2000), ("0.25 ms", 250_000), ("24min", 1_440 * 10**9)]
)
def test_a_time_has_a_unit(text: str, nanoseconds: int) -> None:
    assert quantities.duration(text) == nanoseconds


def test_everything_that_is_said_arrives(tmp_path: Path) -> None:
    for name in ("image", "initrd"):
        (tmp_path / name).write_bytes(b"\x7fELF")
    declared = "from hypervisor.user_hypercalls import hypercall\n@hypercall(56, args=0)\ndef f(hv, call): return 0\n"
    (tmp_path / "greet.py").write_text(declared)
    host = plan(
        tmp_path,
        """
name: all
seed: 0x10
clock: {mode: host, epoch: 2030-01-01T01:00:00+01:00, frequency: 2.4 GHz}
machine: {memory: 1GiB, xen_version: 4.10}
hypercalls: [greet.py]
domains:
  one: {type: hvm, kernel: ./image, ramdisk: initrd, cmdline: a=b, memory: 8, vcpus: 1}
expect:
  one: {exit: crash, console: [hello, /w.rld/]}
""",
    )
    assert (host.name, host.seed, host.memory, host.xen_version) == ("all", 16, 1 << 30, (4, 10))
    assert host.clock == ClockPlan("host", quantities.epoch("2030-01-01"), 2_400_000_000)
    assert host.hypercalls == (tmp_path / "greet.py",)
    domain = host.domains[0]
    assert (domain.kernel, domain.ramdisk, domain.memory) == (tmp_path / "image", tmp_path / "initrd", 8 << 20)
    assert host.expect == {"one": Expectation("crash", ("hello", "/w.rld/"))}


def test_options_go_before_the_file(tmp_path: Path) -> None:
    text = "seed: 1\nclock: {mode: host}\ndomains: {writer: {kernel: writer}}"
    host = plan(tmp_path, text, clock="virtual", seed=2)
    assert (host.seed, host.clock) == (2, ClockPlan("virtual", EPOCH_2026, 10**9))


def test_the_wall_clock_of_host_time_is_now_unless_it_is_said(tmp_path: Path) -> None:
    host = plan(tmp_path, "clock: {mode: host}\ndomains: {writer: {kernel: writer}}")
    assert host.clock.epoch_ns > EPOCH_2026 // 2
    assert host.clock.epoch_ns % 10**9 != 0 or host.clock.epoch_ns != EPOCH_2026


def test_domids_count_from_one_through_replicas_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "domains:\n  z: {kernel: writer, count: 2}\n  a: {kernel: reader}\n  m: {kernel: reader, count: 1}\n"
    host = plan(tmp_path, text)
    assert [(domain.name, domain.domid, domain.group) for domain in host.domains] == [
        ("z-0", 1, "z"), ("z-1", 2, "z"), ("a", 3, "a"), ("m-0", 4, "m"),
    ]  # fmt: skip
    assert host.memory == 4 * (64 << 20)


def actors(host: HostPlan) -> list[tuple[str, tuple[int, ...]]]:
    return [(actor.name, actor.domids) for actor in host.actors]


def test_every_domain_has_an_actor_of_its_own_unless_it_is_said(tmp_path: Path) -> None:
    host = plan(tmp_path, "domains: {w: {kernel: writer, cmdline: 'peer=${r.domid}'}, r: {kernel: reader}}")
    assert actors(host) == [("w", (1,)), ("r", (2,))]


def test_domains_that_refer_to_each_other_are_put_into_one_actor(tmp_path: Path) -> None:
    host = plan(
        tmp_path,
        """
placement: {domains_per_actor: 4}
domains:
  ping: {kernel: writer, cmdline: "peer=${pong.domid} me=${self.domid}", count: 3}
  pong: {kernel: reader, count: 3}
  hub: {kernel: reader, cmdline: "${spoke.domids}", placement: {actor: back}}
  spoke: {kernel: reader, cmdline: "${hub.domid} ${ping.count}", count: 2, placement: {apart: true}}
  other: {kernel: reader, placement: {actor: back}}
""",
    )
    assert actors(host) == [
        ("ping-0..1,pong-0..1", (1, 2, 4, 5)), ("ping-2,pong-2", (3, 6)), ("back", (7, 10)),
        ("spoke-0", (8,)), ("spoke-1", (9,)),
    ]  # fmt: skip


def test_no_two_actors_have_one_name(tmp_path: Path) -> None:
    names = [f"{'n' * 50}{n:03}" for n in range(40)]
    text = "placement: {domains_per_actor: 20}\ndomains:\n" + "".join(
        f"  {name}: {{kernel: writer, cmdline: '${{{names[n % 2]}.domid}}'}}\n" for n, name in enumerate(names))
    host = plan(tmp_path, text)
    assert len({actor.name for actor in host.actors}) == 2


def test_what_is_expected_of_one_replica_goes_before_what_is_expected_of_all(tmp_path: Path) -> None:
    host = plan(
        tmp_path,
        "domains: {w: {kernel: writer, count: 3}}\n"
        "expect:\n  w-1: {exit: crash}\n  w: {exit: running, console: [x]}\n",
    )
    exits = {name: expected.exit for name, expected in host.expect.items()}
    assert exits == {"w-0": "running", "w-1": "crash", "w-2": "running"}
    assert [domain.awaited for domain in host.domains] == [False, True, False]


def test_a_program_is_built_once_for_all_its_replicas_and_for_the_domains_type(tmp_path: Path) -> None:
    programs = FakePrograms()
    data = {"domains": {"w": {"kernel": "writer", "count": 3}, "r": {"kernel": "reader", "type": "hvm"}}}
    from_data(data, tmp_path, programs=programs).plan()
    assert programs.built == [("writer", "pvh64"), ("reader", "pvh64")]


def test_a_program_that_cannot_be_built_is_a_line_and_the_compilers_words(tmp_path: Path) -> None:
    class Broken(FakePrograms):
        def build(self, program: str, target: str = "pvh64") -> Path:
            raise RuntimeError("guest writer for pvh64: writer.c:3:1: error: expected ';'\n    x = 1\n         ^")

    file = tmp_path / "host.yaml"
    file.write_text("domains:\n  w:\n    kernel: writer\n")
    with pytest.raises(ConfigError) as caught:
        load(str(file), Broken()).plan()
    first = f"{file}:3: domains.w.kernel: guest writer for pvh64: writer.c:3:1: error: expected ';'"
    assert caught.value.lines() == [first, "    x = 1", "         ^"]


def test_files_of_hypercalls_are_tried_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "greet.py").write_text("x = (")
    data = {"hypercalls": ["greet.py"], "domains": {"w": {"kernel": "writer"}}}
    with pytest.raises(ConfigError) as caught:
        from_data(data, tmp_path, programs=FakePrograms())
    assert caught.value.lines() == [f"{tmp_path}/greet.py:1: '(' was never closed"]


@pytest.mark.parametrize(
    ("kernel", "name"),
    [("vmlinuz-6.1.elf", "vmlinuz-6-1"), ("self", "guest"), ("...", "guest"), ("grub-x86_64.bin", "grub-x86_64")],
)
def test_a_guest_without_a_file_is_named_after_its_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if kernel == "...":
        (tmp_path / "dots").mkdir()
        kernel = "dots/..."
    (tmp_path / kernel).write_bytes(b"\x7fELF")
    options = {"kernel": kernel, "cmdline": "console=hvc0", "memory": "128", "type": None, "ramdisk": None}
    host = from_options(options, FakePrograms()).plan()
    assert host.domains[0].name == name
    assert (host.domains[0].cmdline, host.domains[0].memory) == ("console=hvc0", 128 << 20)


REFERENCES = [
    ("b", "peer=${a.domid}", "peer=1"),
    ("b", "${self.domid} ${self.name} ${self.index} ${self.count}", "2 b 0 1"),
    ("b", "${w.domids}/${w.count}/${w-1.domid}", "3,4/2/4"),
    ("w-1", "${self.index} of ${self.count}: ${self.name}", "1 of 2: w-1"),
    ("w-1", "${v.domid}", "6"),
    ("w-0", "${v.domid}", "5"),
    ("w-1", "${ a.domid }", "1"),
    ("b", "$${a.domid} $a {a} $$", "${a.domid} $a {a} $$"),
    ("b", "${one.domid}", "7"),
]


@pytest.mark.parametrize(("own", "written", "meant"), REFERENCES)
def test_references_stand_for_domids(own: str, written: str, meant: str) -> None:
    names = Directory({"a": None, "b": None, "w": 2, "v": 2, "one": 1})
    assert names.substitute(written, names.by_name[own]) == meant


QUANTITIES = [
    (quantities.size, 1, 1 << 20),
    (quantities.size, "1024KiB", 1 << 20),
    (quantities.size, "2 gib", 2 << 30),
    (quantities.size, "3G", 3 << 30),
    (quantities.size, "64", 64 << 20),
    (quantities.frequency, 10**9, 10**9),
    (quantities.frequency, "800MHz", 800_000_000),
    (quantities.frequency, "2.5 ghz", 2_500_000_000),
    (quantities.frequency, "1.000000001GHz", 1_000_000_001),
    (quantities.epoch, 1, 10**9),
    (quantities.epoch, "1.25", 1_250_000_000),
    (quantities.epoch, "2026-01-01", EPOCH_2026),
    (quantities.epoch, "2026-01-01T00:00:00Z", EPOCH_2026),
    (quantities.epoch, "2026-01-01 00:00:00.000001", EPOCH_2026 + 1000),
    (quantities.epoch, "2026-01-01T02:00:00+02:00", EPOCH_2026),
    (quantities.version, "4.11", (4, 11)),
]


@pytest.mark.parametrize(("read", "written", "meant"), QUANTITIES)
def test_quantities_are_read_as_people_write_them(read: Any, written: object, meant: object) -> None:
    assert read(written) == meant


@given(st.integers(min_value=1, max_value=1 << 20))
def test_a_size_that_is_shown_is_read_as_the_same(mebibytes: int) -> None:
    assert quantities.size(quantities.show_size(mebibytes << 20)) == mebibytes << 20


def test_checkpoints_go_where_the_configuration_is(tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.write_text("checkpoint: {every: 1.5s}\ndomains: {writer: {kernel: writer}}\n")
    found = load(str(file), FakePrograms()).plan().checkpoint
    assert found == CheckpointPlan(1_500_000_000, tmp_path / "checkpoints", 2)
    file.write_text("domains: {writer: {kernel: writer}}\n")
    assert load(str(file), FakePrograms()).plan().checkpoint is None
