"""One domain moves from node to node while it runs: what goes over, what is told, what cannot be."""

import threading
import time

import pytest
from moving import Nodes

import xenctrl
from toolstack import local
from toolstack.errors import ConfigError
from toolstack.load import from_data
from toolstack.testing import Host

MEMORY = 16 << 20


def traveller(host, laps=40):
    host.domain("traveller", cmdline=f"laps={laps}", memory="16MiB")
    return host


def test_memory_that_is_written_all_the_time_goes_over_whole(configs):
    usual = traveller(Host(local, configs), laps=150).run(timeout=60)
    runtime = Nodes(2, lambda handle: [xenctrl.domain_migrate(handle, 1, node) for node in (1, 0, 1)])
    host = traveller(Host(runtime, configs), laps=150)
    report = host.run(timeout=60)
    assert (host.failures, runtime.errors) == ([], [])
    assert [(move.domain, move.source, move.target) for move in report.migrations] == \
        [("traveller", 0, 1), ("traveller", 1, 0), ("traveller", 0, 1)]
    last = report.migrations[-1]  # by then it has written all of it
    assert last.copied_bytes + last.rest_bytes > MEMORY // 2
    assert last.down_ns > 0
    assert report.digest == usual.digest


def test_a_timeline_says_who_moves_and_when(configs):
    wanted = {"domains": {"traveller": {"kernel": "traveller", "cmdline": "laps=40", "memory": "16MiB"}},
              "timeline": [{"at": "200ms", "migrate": "traveller", "to": 1}]}
    plan = from_data(wanted, configs).plan()
    assert plan.nodes == 2
    runtime = Nodes(2)
    host = traveller(Host(runtime, configs))
    host.configure(timeline=wanted["timeline"])
    report = host.run(timeout=60)
    assert host.failures == []
    (move,) = report.migrations
    assert (move.source, move.target) == (0, 1)
    assert move.virtual_time_ns >= 200_000_000


def test_one_of_an_actor_with_several_moves_and_the_others_stay(configs):
    digests = []
    for runtime in (local, Nodes(2, lambda handle: xenctrl.domain_migrate(handle, 1, 1))):
        host = Host(runtime, configs)
        host.domain("pingpong", name="ping", cmdline="role=ping peer=${pong.domid} rounds=9000", memory="8MiB")
        host.domain("pingpong", name="pong", cmdline="role=pong peer=${ping.domid} rounds=9000", memory="8MiB")
        host.configure(placement={"domains_per_actor": 2})
        report = host.run(timeout=60)
        assert host.failures == []
        digests.append(report.digest)
    assert [move.domain for move in report.migrations] == ["ping"]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("domid", "node", "why"), [
    (1, 0, "traveller is on node 0 already"), (7, 1, "there is no domain 7"),
    (1, 2, "traveller cannot move to node 2: the host has 2 nodes, from 0"),
    (2, 1, "brief has ended"),
])
def test_what_cannot_be_is_said_in_one_line(configs, domid, node, why):
    said = []

    def work(handle):
        while any(info.domid == 2 and not info.shutdown for info in xenctrl.domain_getinfo(handle)):
            time.sleep(0.01)
        with pytest.raises(ValueError, match=f"^{why}$"):
            xenctrl.domain_migrate(handle, domid, node)
        said.append(why)

    runtime = Nodes(2, work)
    host = traveller(Host(runtime, configs))
    host.domain("compute", name="brief", cmdline="instructions=1000", memory="8MiB")
    host.run(timeout=60)
    assert (said, runtime.errors, host.failures) == ([why], [], [])


def test_a_host_of_one_process_has_nowhere_to_move_to(configs):
    host = traveller(Host(local, configs), laps=10)
    told = []

    def ask():
        handle = None
        while handle is None:
            if host.running is not None:
                handle = xenctrl.interface_open(host)
        with pytest.raises(ValueError, match="the host lies on one node"):
            xenctrl.domain_migrate(handle, 1, 1)
        told.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    host.run(timeout=60)
    thread.join()
    assert told


@pytest.mark.parametrize(("timeline", "placement", "problem"), [
    ([{"at": "1ms", "migrate": "travellor", "to": 1}], {}, "unknown domain 'travellor' (did you mean 'traveller'?)"),
    ([{"at": "1ms", "migrate": "traveller", "to": 2}], {"nodes": 2}, "expected a number below 2"),
    ([{"migrate": "traveller", "to": 2}], {}, "expected a value, got nothing"),
])
def test_mistakes_in_a_timeline_have_a_line_each(configs, timeline, placement, problem):
    with pytest.raises(ConfigError) as raised:
        from_data({"domains": {"traveller": {"kernel": "traveller"}}, "timeline": timeline, "placement": placement},
                  configs)
    (found,) = raised.value.problems
    assert problem in found.text
    assert found.where[:2] == ("timeline", 0)
