"""The hypercall that ships as an example; docs/hypercall-recipe.md leads here."""

from pathlib import Path

import pytest
from hypercall_host import Caller, SmallHost

from abi.errno import Errno
from abi.layout import U8, U32, Array, Layout
from hypervisor.user_hypercalls import load, with_user_rows

GREET = Layout("greet", length=U32, name=Array(U8, 28), answer=Array(U8, 64))
ARGUMENT = 0x1000


@pytest.fixture
def host():
    return SmallHost(with_user_rows([load(Path(__file__).parents[2] / "configs/hypercalls/greet.py")]))


@pytest.mark.parametrize("width", [32, 64])
def test_a_guest_is_greeted_by_name(host, width):
    caller = Caller(domid=1, vcpu=1, width=width)
    shape = GREET.at(width)
    caller.memory.write(ARGUMENT, shape.pack(5, b"alice", b""))
    answer = b"Hello alice, you are domain 1"
    assert host.call(56, ARGUMENT, caller=caller) == len(answer)
    assert shape.named(caller.memory.read(ARGUMENT, shape.size)).answer.rstrip(b"\0") == answer
    assert host.lines == [(1, "greet: alice says hello")]


@pytest.mark.parametrize("length", [0, 29, 0xFFFFFFFF])
def test_a_name_of_the_wrong_length_is_refused(host, length):
    caller = Caller(domid=1, vcpu=1)
    caller.memory.write(ARGUMENT, GREET.at(64).pack(length, b"alice", b""))
    assert host.call(56, ARGUMENT, caller=caller) == -Errno.EINVAL


def test_a_wild_pointer_is_refused(host):
    assert host.call(56, 0xDEAD0000) == -Errno.EFAULT
