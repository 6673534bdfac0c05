"""The fixture `host` in a suite of somebody else's."""

from pathlib import Path

import pytest
from toolstack_fakes import FakePrograms, FakeRuntime

from toolstack.errors import ConfigError
from toolstack.testing import Host

REPOSITORY = Path(__file__).parents[2]
FAKE_RUNTIME = """
import toolstack.images, toolstack.runtime
from toolstack_fakes import FakePrograms, FakeRuntime

asked = []

def load_runtime(name):
    asked.append(name)
    return FakeRuntime(consoles={"writer": ["hello"]}, exits={"reader": "crash"})

toolstack.runtime.load_runtime = load_runtime
toolstack.images.guest_programs = FakePrograms
import toolstack.load
toolstack.load.guest_programs = FakePrograms
"""


def host(runtime: FakeRuntime | None = None, base: Path = Path()) -> Host:
    return Host(runtime or FakeRuntime(), base, programs=FakePrograms())


def test_domains_are_described_run_and_looked_at() -> None:
    runtime = FakeRuntime(consoles={"writer": ["hello"]}, exits={"r": "crash"})
    made = host(runtime)
    writer = made.domain("writer", cmdline="peer=${r.domid}", memory="8MiB")
    reader = made.domain("reader", name="r")
    made.configure(seed=3, machine={"xen_version": "4.11"})
    report = made.run(timeout=5)
    assert (writer.name, writer.domid, writer.exit, writer.console) == ("writer", 1, "poweroff", ["hello"])
    assert (reader.domid, reader.exit, reader.digest) == (2, "crash", "cd" * 32)
    assert report.outcome == "finished"
    assert made.failures == ["r: expected exit poweroff, got crash"]
    assert made.hypervisor_log == ["Xen version 4.17"]
    plan = runtime.plans[0]
    assert (plan.seed, plan.xen_version, plan.domains[0].cmdline) == (3, (4, 11), "peer=2")
    assert runtime.options[0].timeout == 5


def test_the_same_program_twice_gets_two_names() -> None:
    made = host()
    assert [made.domain("writer").name for _ in range(3)] == ["writer", "writer-2", "writer-3"]
    with pytest.raises(ValueError, match="has a domain 'writer' already"):
        made.domain("reader", name="writer")
    with pytest.raises(ValueError, match=r"call host.domain\(\) for each replica"):
        made.domain("reader", count=3)


def test_a_domain_that_has_not_run_says_so() -> None:
    domain = host().domain("writer")
    with pytest.raises(LookupError, match=r"writer has not run yet: call host.run\(\) first"):
        assert domain.console


def test_a_mistake_is_the_configurations_message_without_a_file() -> None:
    made = host()
    made.domain("writer", memroy=5)
    with pytest.raises(ConfigError, match=r"^domains\.writer\.memroy: unknown key \(did you mean 'memory'\?\)$"):
        made.run()


def test_a_host_runs_again_from_the_start() -> None:
    runtime = FakeRuntime()
    made = host(runtime)
    made.domain("writer")
    assert made.run().digest == made.run(seed=9).digest
    assert [plan.seed for plan in runtime.plans] == [0, 9]


def test_a_configuration_file_is_a_host_too(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("domains: {w: {kernel: writer, count: 2}}\nexpect: {w: {console: [hi]}}")
    made = host(FakeRuntime(consoles={"w-1": ["hi"]}), tmp_path)
    domains = made.load("x.yaml")
    made.run()
    assert [(name, domain.domid) for name, domain in domains.items()] == [("w-0", 1), ("w-1", 2)]
    assert made.failures == ["w-0: expected the console line 'hi', got none such"]
    with pytest.raises(ValueError, match="loaded from a file"):
        made.domain("writer")


SUITE = """
def test_good(host):
    writer = host.domain("writer")
    host.run()
    assert writer.console == ["hello"]

def test_bad(host):
    writer = host.domain("writer")
    reader = host.domain("reader", cmdline="peer=${writer.domid}")
    host.run()
    assert reader.exit == "poweroff"
"""


def run_suite(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, suite: str, *options: str
) -> pytest.RunResult:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{REPOSITORY}")
    pytester.makeconftest(FAKE_RUNTIME)
    pytester.makepyfile(suite)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # an installed package would load it a second time
    return pytester.runpytest_subprocess("-p", "toolstack.pytest_plugin", "-p", "no:cacheprovider", *options)


def test_a_failed_test_shows_the_consoles(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_suite(pytester, monkeypatch, SUITE)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- domus: console of writer -*", "hello", "*- domus: hypervisor -*", "Xen version 4.17",
            "*- domus: run -*", "domain *", "writer *poweroff*", "reader *crash*",
            "expect: reader: expected exit poweroff, got crash",
        ]
    )  # fmt: skip


def test_a_passing_test_shows_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_suite(pytester, monkeypatch, SUITE, "-k", "good")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.no_fnmatch_line("*domus:*")


def test_the_runtime_and_the_clock_are_the_command_lines(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = """
    from conftest import asked
    def test_it(host):
        host.domain("writer")
        assert host.run().clock == "host"
        assert asked == ["ray"]
    """
    result = run_suite(pytester, monkeypatch, suite, "--domus-runtime", "ray", "--domus-clock", "host")
    result.assert_outcomes(passed=1)


def test_a_suite_without_hosts_pays_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        """
        import sys
        def test_it():
            ours = {name for name in sys.modules if name.split(".")[0] in ("toolstack", "hypervisor", "domains", "abi")}
            assert ours == {"toolstack", "toolstack.pytest_plugin"}
            assert not {"pydantic", "yaml", "unicorn", "ray", "numpy"} & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess("-p", "toolstack.pytest_plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
