"""A Linux that moves from node to node while it boots and works does not notice."""

import pytest
from linux_guest import EVERYTHING
from moving import Nodes, wander

from toolstack import local
from toolstack.testing import Host

pytestmark = [pytest.mark.slow, pytest.mark.again]


def test_linux_on_two_processors_moves_and_does_not_notice(configs, kernel, ramdisk):
    digests = []
    for runtime in (local, Nodes(2, wander(1, [1], 2))):
        host = Host(runtime, configs)
        host.domain(kernel, name="linux", type="pv", vcpus=2, memory="256MiB", cmdline="console=hvc0",
                    ramdisk=ramdisk(EVERYTHING))
        report = host.run(timeout=240)
        assert host.failures == []
        digests.append(report.digest)
    assert report.migrations
    assert digests[0] == digests[1]
