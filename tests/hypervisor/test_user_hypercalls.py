import pytest
from hypercall_host import Caller, SmallHost

from abi.errno import Errno
from hypervisor.crash import GuestCrash
from hypervisor.hypercalls import ROWS
from hypervisor.user_hypercalls import UserHypercallError, load, with_user_rows

HEADER = "from hypervisor.user_hypercalls import hypercall\n"
GOOD = HEADER + """
@hypercall(57, "add", args=2)
def add(hv, call, a, b):
    return a + b
"""


def rows(text, path="mine.py"):
    return with_user_rows([load(path, HEADER + text)])


def host_with(text):
    return SmallHost(rows(text))


def refused(text, path="mine.py"):
    with pytest.raises(UserHypercallError) as error:
        rows(text, path)
    assert "\n" not in str(error.value)
    return str(error.value)


# Files that work.


def test_a_file_adds_a_hypercall(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    host = SmallHost(with_user_rows([load(path)]))
    assert host.call(57, 2, 3) == 5
    assert host.call(57, 2, 3, caller=Caller(2, 3)) == 5


def test_a_file_may_add_several_and_a_function_may_serve_several():
    host = host_with("""
@hypercall(58, "first", args=0)
@hypercall(59, "second", args=0)
def both(hv, call):
    return 7

@hypercall(60, args=1)
def third(hv, call, a):
    return a
""")
    assert [host.call(number, 9) for number in (58, 59, 60)] == [7, 7, 9]
    assert [host.dispatcher.name(number) for number in (58, 59, 60)] == ["first", "second", "third"]


def test_a_handler_may_take_any_arguments():
    host = host_with("@hypercall(56, args=3)\ndef total(hv, call, *numbers): return sum(numbers)")
    assert host.call(56, 1, 2, 3) == 6


def test_a_hypercall_may_be_for_one_kind_of_guest():
    host = host_with("@hypercall(56, args=0, pv=False)\ndef mine(hv, call): return 1")
    assert host.call(56) == 1
    assert host.call(56, caller=Caller(2, 3)) == -Errno.ENOSYS


def test_an_errno_and_a_negative_result_are_the_same_to_the_guest():
    host = host_with("""
from abi.errno import Errno, XenError
@hypercall(56, args=1)
def fail(hv, call, how):
    if how:
        raise XenError(Errno.EINVAL)
    return -Errno.EINVAL
""")
    assert host.call(56, 0) == host.call(56, 1) == -Errno.EINVAL


def test_one_of_xens_numbers_is_taken_only_on_purpose():
    host = host_with("@hypercall(17, args=2, override=True)\ndef xen_version(hv, call, a, b): return 99 << 16")
    assert host.call(17, 0, 0) == 99 << 16


def test_a_wild_pointer_is_efault_without_any_care():
    host = host_with("@hypercall(56, args=1)\ndef peek(hv, call, at): return call.memory.read(at, 1)[0]")
    assert host.call(56, 1 << 40) == -Errno.EFAULT


def test_the_hosts_own_table_stays_as_it_is():
    rows("@hypercall(17, args=2, override=True)\ndef other(hv, call, a, b): return 0")
    assert ROWS[17].name == "xen_version"


# Faults of handlers.


def test_a_fault_names_the_line_of_the_users_file():
    host = host_with("@hypercall(56, 'divide', args=2)\ndef divide(hv, call, a, b):\n    return a // b\n")
    with pytest.raises(GuestCrash) as crash:
        host.call(56, 5, 0)
    assert crash.value.where == "mine.py:4"
    assert crash.value.call == "divide(5, 0)"


def test_the_line_is_the_users_also_where_a_library_raised():
    host = host_with("import json\n@hypercall(56, args=0)\ndef parse(hv, call):\n    return json.loads('{')\n")
    with pytest.raises(GuestCrash, match=r"JSONDecodeError.* at mine\.py:5 in hypercall parse\(\)"):
        host.call(56)


def test_a_result_that_is_no_integer_names_the_handler():
    host = host_with("@hypercall(56, args=0)\ndef forgetful(hv, call):\n    pass\n")
    with pytest.raises(GuestCrash, match=r"forgetful\(\) returned None, not an integer at mine\.py:2"):
        host.call(56)


# Files that do not.


@pytest.mark.parametrize(("text", "complaint"), [
    ("x = 1", "mine.py: no hypercall: expected a function under @hypercall"),
    ("x = (", "mine.py:2: '(' was never closed"),
    ("import nothing_of_that_name", "mine.py:2: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ("\n\nraise SystemExit", "mine.py:4: SystemExit: "),
    ("x = 1\0", "mine.py"),
    ("@hypercall(32, args=2)\ndef mine(hv, call, a, b): return 0", "mine.py:2: hypercall 32 (mine): numbers up to 55"),
    ("@hypercall(64, args=0)\ndef mine(hv, call): return 0", "the number must be from 0 to 63"),
    ("@hypercall(-1, args=0)\ndef mine(hv, call): return 0", "the number must be from 0 to 63"),
    ("@hypercall('56', args=0)\ndef mine(hv, call): return 0", "the number must be from 0 to 63"),
    ("@hypercall(56, args=7)\ndef mine(hv, call, *a): return 0", "args must be from 0 to 6"),
    ("@hypercall(56, args=0, pv=False, hvm=False)\ndef mine(hv, call): return 0", "no kind of guest"),
    ("@hypercall(56, args=2)\ndef mine(hv, call, a): return 0", "mine() must take hv, call and 2 more"),
    ("@hypercall(56, args=0)\ndef mine(hv, call, a): return 0", "mine() must take hv, call and 0 more"),
    ("@hypercall(56)\ndef mine(hv, call): return 0", "mine.py:2: TypeError"),
    ("@hypercall(56, args=0)\ndef a(hv, call): return 0\n@hypercall(56, args=0)\ndef b(hv, call): return 0",
     "hypercall 56 (b) is declared in mine.py already (a)"),
])
def test_a_mistake_is_one_line_that_says_where_and_what(text, complaint):
    assert complaint in refused(text)


def test_two_files_cannot_share_a_number():
    with pytest.raises(UserHypercallError, match=r"yours\.py: hypercall 57 \(add\) is declared in mine\.py already"):
        with_user_rows([load("mine.py", GOOD), load("yours.py", GOOD)])


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    binary = tmp_path / "binary.py"
    binary.write_bytes(b"\xff\xfe")
    for path, complaint in ((tmp_path / "absent.py", "No such file"), (tmp_path, "directory"), (binary, "UTF-8")):
        with pytest.raises(UserHypercallError, match=complaint) as error:
            load(path)
        assert str(error.value).startswith(str(path))
