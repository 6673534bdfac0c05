"""The recipe's four steps, with a guest: a file that declares a hypercall, a configuration that names it, a call."""

import threading

import pytest

import xenctrl
from abi.xen import Hypercall
from guests.build import build_from

SHOUT = """
from abi.errno import Errno, XenError
from hypervisor.user_hypercalls import hypercall

@hypercall(57, "shout", args=2{options})
def shout(hv, call, text, size):
    if size > 32:
        raise XenError(Errno.E2BIG)
    said = call.memory.read(text, size)
    hv.log(call.domid, "shout: " + said.decode())
    {fault}
    call.memory.write(text, said.upper())
    return size
"""


@pytest.fixture(scope="module")
def caller(request):
    return build_from(request.path.parent / "caller.c")


@pytest.fixture
def shout(tmp_path):
    """Writes the user's file."""
    def write(options="", fault="pass"):
        file = tmp_path / "shout.py"
        file.write_text(SHOUT.format(options=options, fault=fault))
        return str(file)

    return write


def test_a_guest_calls_what_the_user_added(host, caller, shout):
    host.configure(hypercalls=[shout()])
    guest = host.domain(caller, name="guest", cmdline="text=hello")
    host.run(timeout=30)
    assert guest.console == ["by the page: 5", "by the instruction: 5", "a wild pointer: -14", "text: HELLO"]
    assert [line for line in host.hypervisor_log if "shout" in line] == ["d1: shout: hello", "d1: shout: HELLO"]
    assert guest.exit == "poweroff"


def test_an_error_of_xens_is_a_negative_number(host, caller, shout):
    host.configure(hypercalls=[shout()])
    guest = host.domain(caller, name="guest", cmdline="text=" + 40 * "x")
    host.run(timeout=30)
    assert guest.console[0] == "by the page: -7"


def test_a_fault_of_the_handler_is_its_callers_crash_with_the_line(host, caller, shout):
    host.configure(hypercalls=[shout(fault="1 / 0")], expect={"guest": {"exit": "crash"}})
    guest = host.domain(caller, name="guest", cmdline="text=hello")
    other = host.domain("first_steps")
    host.run(timeout=30)
    assert (guest.exit, other.exit) == ("crash", "poweroff")
    assert "shout.py:11" in guest.report.exit_detail
    assert "ZeroDivisionError" in guest.report.exit_detail
    assert "shout(" in guest.report.exit_detail


def test_a_column_that_is_off_is_no_hypercall(host, caller, shout):
    host.configure(hypercalls=[shout(options=", hvm=False")])
    guest = host.domain(caller, name="guest", cmdline="text=hello")
    host.run(timeout=30)
    assert guest.console[0] == "by the page: -38"


def test_one_of_xens_own_can_be_replaced(host, caller, tmp_path):
    file = tmp_path / "other.py"
    file.write_text("from hypervisor.user_hypercalls import hypercall\n"
                    "@hypercall(33, 'physdev_op', args=2, override=True)\n"
                    "def physdev_op(hv, call, cmd, arg):\n    return 4711\n")
    host.configure(hypercalls=[str(file)])
    guest = host.domain(caller, name="guest", cmdline=f"number={Hypercall.physdev_op:d} text=x")
    host.run(timeout=30)
    assert guest.console[:2] == ["by the page: 4711", "by the instruction: 4711"]


def test_it_can_be_called_from_outside(host, shout):
    host.configure(hypercalls=[shout()], expect={"spin": {"exit": "running"}, "busy": {"exit": "poweroff"}})
    host.domain("abuse/spin", name="spin")
    host.domain("abuse/spin", name="busy", cmdline="for=300")
    run = threading.Thread(target=host.run)
    run.start()
    try:
        with xenctrl.interface_open(host, timeout=30) as handle:
            text = bytearray(b"hello")
            assert xenctrl.hypercall(handle, 57, text, len(text)) == 5
            assert text == b"HELLO"
            with pytest.raises(OSError, match="E2BIG"):
                xenctrl.hypercall(handle, 57, text, 33)
    finally:
        run.join()
    assert host.hypervisor_log.count("d0: shout: hello") == 1
