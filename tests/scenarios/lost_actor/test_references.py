"""On a host where nobody died, what refers to each frame adds up to its counts, at the end of every round."""

import numpy
import pytest

from hypervisor.frames import FrameKind, FrameTable
from hypervisor.pv_tables import PageType, PageTypeTable
from hypervisor.references import References, column
from hypervisor.rounds import Rounds


def differences(hv):
    """Frames whose counts are not those that are due: frame, what, is, due."""
    frames, types = hv.state.table(FrameTable), hv.state.table(PageTypeTable)
    due = References(hv.state, hv.memory.p2m)
    kinds, kind = column(frames.kind, numpy.uint8), column(types.type, numpy.uint8)
    owned = (kinds == FrameKind.RAM) | (kinds == FrameKind.XENHEAP)
    counts = column(types.count, numpy.uint32)
    wrong = []
    for name, counted, wanted, where in (
            ("refs", column(frames.refs, numpy.uint32), due.refs, owned),
            ("writable", counts, due.writable, owned & (kind == PageType.WRITABLE)),
            ("types", counts, due.tables, owned & (kind != PageType.WRITABLE))):
        for mfn in numpy.flatnonzero(where & (counted != wanted)).tolist()[:5]:
            wrong.append((mfn, name, int(counted[mfn]), int(wanted[mfn]), int(frames.owner[mfn]), int(kind[mfn])))
    return wrong


@pytest.mark.parametrize("file", ["mixed.yaml", "grub_pv64.yaml", "grub_pv32.yaml", "abuse_revoke.yaml"])
def test_all_counts_add_up(file, local_host, configs, monkeypatch):
    hosts, rounds = [], []
    end = Rounds.end

    def checked(self, now=None):
        if not rounds or len(rounds) % 16 == 0:
            for hv in hosts:
                assert differences(hv) == []
        rounds.append(1)
        end(self, now)

    import toolstack.local as local
    make = local.make_hypervisor
    monkeypatch.setattr(local, "make_hypervisor", lambda *a, **k: hosts.append(make(*a, **k)) or hosts[-1])
    monkeypatch.setattr(Rounds, "end", checked)
    host = local_host(configs)
    host.load(file)
    host.run()
    assert host.failures == []
    assert rounds
