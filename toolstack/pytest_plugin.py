"""Fixtures for suites that test guests.

    def test_a_page_is_shared(host):
        reader = host.domain("reader", name="reader")
        writer = host.domain("writer", cmdline="peer=${reader.domid}")
        host.run(timeout=30)
        assert writer.exit == "poweroff"
        assert "page 0: all bytes right" in reader.console

File names are relative to the test's file.  When a test fails, its report has every console, the hypervisor's log and
the table of domains.  `--domus-runtime ray` runs the suite with an actor a domain, `--domus-clock host` on host time.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # every pytest run of an environment loads this module: it imports what it needs when it needs it
    from toolstack.testing import Host

_HOSTS = pytest.StashKey["list[Host]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("domus", "simulated Xen hosts")
    add = group.addoption
    add("--domus-runtime", choices=("local", "ray"), default="local", help="one process for all, or an actor each")
    add("--domus-clock", choices=("virtual", "host"), default=None, help="instead of the configuration's clock.mode")


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Host:
    """A simulated Xen host without domains: see `toolstack.testing.Host`."""
    from toolstack.runtime import load_runtime
    from toolstack.testing import Host

    runtime = load_runtime(request.config.getoption("domus_runtime"))
    made = Host(runtime, request.path.parent, clock=request.config.getoption("domus_clock"))
    request.node.stash.setdefault(_HOSTS, []).append(made)
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the domains of a failed test wrote."""
    report = yield
    if report.failed:
        for made in item.stash.get(_HOSTS, []):
            report.sections.extend((f"domus: {title}", text) for title, text in made.sections() if text)
    return report
