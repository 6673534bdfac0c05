"""A hypercall of one's own: number 56, `greet(struct greet *)`.  docs/hypercall-recipe.md explains each step.

The guest passes a structure with its name.  The hypervisor logs it, writes an answer for the guest to print, and
returns the answer's length.
"""

from abi.errno import Errno, XenError
from abi.layout import U8, U32, Array, Layout
from hypervisor.user_hypercalls import hypercall

NAME, ANSWER = 28, 64
GREET = Layout("greet", length=U32, name=Array(U8, NAME), answer=Array(U8, ANSWER))


@hypercall(56, "greet", args=1, pv=True, hvm=True)
def greet(hv, call, arg):
    shape = GREET.at(call.width)
    length, name, _ = shape.unpack(call.memory.read(arg, shape.size))
    if not 0 < length <= NAME:
        raise XenError(Errno.EINVAL)
    guest = name[:length].decode("ascii", "replace")
    hv.log(call.domid, f"greet: {guest} says hello")
    answer = f"Hello {guest}, you are domain {call.domid}".encode("ascii", "replace")[:ANSWER - 1]
    call.memory.write(arg + shape.offset["answer"], answer + b"\0")
    return len(answer)
