"""vm_assist, console_io and those whose whole answer is an error."""

import pytest
from hypercall_host import SIZE, Caller, RestartableCaller, SmallHost

from abi.errno import Errno
from abi.physdev import PhysdevOp
from abi.xen import Hypercall
from hypervisor.pv_tables import PvVcpuTable

BUFFER = 0x1000
NAME = {row.name: row for row in Hypercall}


def console(host, text, caller=None):
    caller = caller or Caller(1, 1)
    caller.memory.write(BUFFER, text)
    return host.call(Hypercall.console_io, 0, len(text), BUFFER, caller=caller)


# console_io


def test_lines_of_a_guest_are_logged_as_its_own():
    host = SmallHost()
    assert console(host, b"one\ntwo\n") == 0
    assert host.lines == [(1, "(d1) one"), (1, "(d1) two")]


def test_a_line_may_come_in_pieces():
    host = SmallHost()
    console(host, b"Hel")
    console(host, b"other\n", Caller(3, 4))
    console(host, b"lo\nrest")
    assert host.lines == [(3, "(d3) other"), (1, "(d1) Hello")]
    host.console_lines.flush(1)
    host.console_lines.flush(1)
    assert host.lines[2:] == [(1, "(d1) rest")]


def test_what_cannot_be_printed_is_left_out():
    host = SmallHost()
    console(host, b"a\x1b[31m\tb\x00\xff\r\n")
    assert host.lines == [(1, "(d1) a[31m\tb")]


def test_an_endless_line_is_broken():
    host = SmallHost()
    console(host, b"x" * 1000)
    assert len(host.lines) >= 4
    host.console_lines.flush(1)
    assert "".join(text.removeprefix("(d1) ") for _, text in host.lines) == "x" * 1000


def test_what_can_be_read_is_printed_before_a_fault():
    host, caller = SmallHost(), Caller(1, 1)
    caller.memory.bytes[SIZE - 200:] = b"y" * 126 + b"\n" + b"z" * 73
    assert host.call(Hypercall.console_io, 0, 1000, SIZE - 200, caller=caller) == -Errno.EFAULT
    assert host.lines == [(1, "(d1) " + "y" * 126)]


def test_much_text_is_written_in_turns():
    host, caller = SmallHost(), RestartableCaller(1, 1)
    assert host.call(Hypercall.console_io, 0, 20_000, BUFFER, caller=caller) == Hypercall.console_io
    assert caller.restarted_with == (0, 20_000 - 32 * 127, BUFFER + 32 * 127)


def test_guests_do_not_read_the_hosts_console():
    host = SmallHost()
    assert host.call(Hypercall.console_io, 1, 10, BUFFER) == -Errno.EPERM
    assert host.call(Hypercall.console_io, 2, 10, BUFFER) == -Errno.EPERM


def test_the_privileged_find_no_input():
    host, caller = SmallHost(), Caller(0, 0)
    assert host.call(Hypercall.console_io, 1, 10, BUFFER, caller=caller) == 0
    assert host.call(Hypercall.console_io, 1, 1 << 31, BUFFER, caller=caller) == -Errno.E2BIG
    assert host.call(Hypercall.console_io, 2, 10, BUFFER, caller=caller) == -Errno.ENOSYS


def test_command_and_count_are_ints():
    host = SmallHost()
    assert host.call(Hypercall.console_io, 1 << 32, 1 << 32, SIZE) == 0


# vm_assist


@pytest.mark.parametrize(("caller", "valid"), [
    (Caller(1, 1), {5}), (Caller(2, 3), {0, 1, 2, 3, 4, 5, 32})])
def test_assists_that_a_guest_may_turn_on(caller, valid):
    host = SmallHost()
    for kind in [*range(70), 1 << 31]:
        result = host.call(Hypercall.vm_assist, 0, kind, caller=caller)
        assert result == (0 if kind in valid else -Errno.EINVAL)
    assert host.assists.bits[caller.domid] == sum(1 << kind for kind in valid)


def test_a_32_bit_pv_guest_has_the_low_half():
    host = SmallHost()
    host.domains.width[2] = 32
    assert host.call(Hypercall.vm_assist, 0, 3, caller=Caller(2, 3, 32)) == 0
    assert host.call(Hypercall.vm_assist, 0, 32, caller=Caller(2, 3, 32)) == -Errno.EINVAL


def test_an_assist_is_turned_off_again():
    host = SmallHost()
    assert host.call(Hypercall.vm_assist, 0, 5) == 0
    assert host.call(Hypercall.vm_assist, 1, 5) == 0
    assert host.assists.bits[1] == 0
    assert host.call(Hypercall.vm_assist, 2, 5) == -Errno.ENOSYS


# The others.


@pytest.mark.parametrize(("name", "error"), [
    ("physdev_op", Errno.ENOSYS), ("xsm_op", Errno.ENOSYS), ("argo_op", Errno.EOPNOTSUPP),
    ("xenpmu_op", Errno.EOPNOTSUPP), ("hypfs_op", Errno.EPERM)])
def test_what_is_off_by_default_answers_as_xen(name, error):
    host = SmallHost()
    assert host.call(NAME[name], 1, 2, 3, 4, 5) == -error
    assert host.lines == []


def test_hypfs_is_not_there_for_the_privileged_either():
    assert SmallHost().call(Hypercall.hypfs_op, caller=Caller(0, 0)) == -Errno.ENOSYS


def test_what_is_missing_of_physdev_op_for_pv_guests_is_said():
    host = SmallHost()
    host.pv_vcpus = PvVcpuTable.private(8)
    assert host.call(Hypercall.physdev_op, PhysdevOp.get_free_pirq, BUFFER, caller=Caller(2, 3)) == -Errno.ENOSYS
    assert "physdev_op/" in host.lines[0][1]
