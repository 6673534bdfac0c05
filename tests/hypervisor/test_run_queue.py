import pytest
from hypothesis import given
from hypothesis import strategies as st

from abi.types import NEVER
from hypervisor.run_queue import queue_of
from hypervisor.tables import RunState, VcpuTable

entries = st.tuples(st.sampled_from([0, 1, 5, NEVER - 1, NEVER]), st.sampled_from(list(RunState)))


@given(st.lists(entries, min_size=1, max_size=20), st.data())
def test_any_group_of_any_size_finds_its_smallest(table, data):
    vcpus = VcpuTable.private(len(table))
    for row, (due, state) in enumerate(table):
        vcpus.due[row], vcpus.runstate[row] = due, state
    rows = sorted(data.draw(st.sets(st.integers(0, len(table) - 1))))
    queue = queue_of(vcpus, rows)
    due = [(vcpus.due[row], row) for row in rows if vcpus.due[row] != NEVER]
    assert queue.smallest() == (min(due)[1] if due else None)
    assert queue.least_due() == (min(due)[0] if due else NEVER)
    runnable = [key for key in due if vcpus.runstate[key[1]] == RunState.RUNNABLE]
    assert queue.smallest_runnable() == (min(runnable)[1] if runnable else None)


@pytest.mark.parametrize("rows", [range(2), range(2000), [0, 2]])
def test_what_changes_in_the_table_is_seen_at_once(rows):
    vcpus = VcpuTable.private(2000)
    queue = queue_of(vcpus, rows)
    vcpus.due[0] = 7
    vcpus.due[rows[1]] = 6
    for row in rows[2:]:
        vcpus.due[row] = NEVER
    assert queue.smallest() == rows[1]
    vcpus.due[rows[1]] = NEVER
    assert queue.smallest() == 0
