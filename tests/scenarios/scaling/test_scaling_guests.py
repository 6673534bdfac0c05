"""The programs that the scaling experiments run: each checks its own results, in any number and of any kind."""

import pytest

KINDS = {"pvh64": {"type": "pvh"}, "pv64": {"type": "pv"}, "pv32": {"type": "pv", "bits": 32}}
CROWD = "first=${{{name}-0.domid}} count={count} index={index} {words}"


def replicas(host, program, count, words, kinds=("pvh64",)):
    """As `count` in a configuration, but each of its own kind."""
    return [host.domain(program, name=f"{program}-{index}", memory=8, **KINDS[kinds[index % len(kinds)]],
                        cmdline=CROWD.format(name=program, count=count, index=index, words=words))
            for index in range(count)]


def star(host, clients, requests, kinds=("pvh64",)):
    backend = host.domain("star", name="backend", memory=8, **KINDS[kinds[-1]],
                          cmdline=f"role=backend first=${{client-0.domid}} count={clients}")
    for index in range(clients):
        host.domain("star", name=f"client-{index}", memory=8, **KINDS[kinds[index % len(kinds)]],
                    cmdline=f"role=client peer=${{backend.domid}} requests={requests}")
    return backend


def marks(host):
    return [line.partition(") ")[2] for line in host.hypervisor_log if "BENCH" in line]


@pytest.mark.parametrize("name", ["compute", "star", "ring", "broadcast", "scaling"])
def test_everything_that_a_configuration_expects_happens(host, configs, name):
    host.load(configs / f"{name}.yaml")
    assert host.run(timeout=60).outcome == "finished"
    assert host.failures == []
    text = [line for domain in host.report.domains.values() for line in domain.console]
    assert not [line for line in text if line.startswith("FAIL")]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_computed_is_right(host, kind):
    guest = host.domain("compute", cmdline="instructions=1000", memory=8, **KINDS[kind])
    host.run(timeout=30)
    assert host.failures == []
    assert guest.console[-1] == "compute: 1 checks, 0 failed"
    assert marks(host) == ["BENCH start compute", "BENCH stop compute ops=1000"]


@pytest.mark.parametrize("clients", [1, 2, 9])
def test_a_backend_serves_every_request_of_every_client(host, clients):
    backend = star(host, clients, 50)
    host.run(timeout=30)
    assert host.failures == []
    assert f"PASS {50 * clients} requests of {clients} clients served, 0 were wrong" in backend.console
    assert marks(host).count("BENCH stop star ops=50") == clients


@pytest.mark.parametrize("count", [2, 3, 9])
def test_the_number_comes_round_as_often_as_it_should(host, count):
    ring = replicas(host, "ring", count, "laps=20")
    host.run(timeout=30)
    assert host.failures == []
    assert ring[0].console[1].startswith(f"PASS after 20 laps of {count} hops the number is ")
    assert all("PASS 20 laps came by, none was missed" in domain.console for domain in ring[1:])
    assert marks(host)[-1] == f"BENCH stop ring ops={20 * count}"
    assert all(domain.report.events_sent >= 21 for domain in ring)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_everybody_hears_everybody(host, count):
    crowd = replicas(host, "broadcast", count, "rounds=20")
    host.run(timeout=30)
    assert host.failures == []
    for domain in crowd:
        assert f"PASS 20 rounds of {count - 1} numbers, 0 were wrong" in domain.console
        assert domain.report.grants_mapped == count - 1


def test_guests_of_all_kinds_take_part(host):
    kinds = list(KINDS)
    replicas(host, "ring", 3, "laps=20", kinds)
    replicas(host, "broadcast", 3, "rounds=20", kinds)
    star(host, 3, 20, kinds)
    host.run(timeout=60)
    assert host.failures == []


@pytest.mark.parametrize(
    ("program", "cmdline", "complaint"),
    [("ring", "first=1 count=1 index=0", "count=1: 2 to 32000 are possible"),
     ("broadcast", "first=1 count=2 index=2", "index=2: there are 2"),
     ("broadcast", "count=2 index=0", "first=<domid> is needed"),
     ("star", "role=client peer=1 requests=0", "requests=0"),
     ("compute", "instructions=9", "10 to 42949672950 are possible")],
)  # fmt: skip
def test_a_command_line_without_sense_is_refused(host, program, cmdline, complaint):
    guest = host.domain(program, cmdline=cmdline, memory=8)
    host.run(timeout=30)
    assert guest.exit == "crash"
    assert complaint in "\n".join(guest.console)
