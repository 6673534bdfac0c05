"""What libxl writes to the store for a new domain, as far as there is something behind it."""

from typing import NamedTuple
from uuid import UUID

from abi.types import Domid
from xenstore.tree import HOST, NONE, READ, Permission, Tree, home

_CONSOLE_LIMIT = 1048576


class Introduced(NamedTuple):
    """What the toolstack says of a domain; `memory` is in bytes."""

    name: str
    memory: int
    vcpus: int


class Rings(NamedTuple):
    """Ports and frames of a domain's store and console."""

    store_port: int
    store_frame: int
    console_port: int
    console_frame: int


def introduce(tree: Tree, domid: Domid, domain: Introduced, handle: bytes, rings: Rings) -> None:
    """Make the nodes that a new domain finds: it can read its home, and write in some places there."""
    uuid, base, kilobytes = UUID(bytes=handle), home(domid), domain.memory >> 10
    machine, backend = f"/vm/{uuid}", f"/local/domain/0/backend/console/{domid}/0"
    hidden = (Permission(HOST, NONE),)
    readable, own = (Permission(HOST, NONE), Permission(domid, READ)), (Permission(domid, NONE),)

    def make(path: str, permissions: tuple[Permission, ...], **values: str) -> None:
        tree.make(HOST, path)
        tree.set_permissions(HOST, path, permissions)
        for name, value in values.items():
            tree.write(HOST, f"{path}/{name.replace('_', '-')}", value.encode())

    make(base, readable, vm=machine, name=domain.name, domid=str(domid))
    make(machine, readable, uuid=str(uuid), name=domain.name)
    make(f"{base}/cpu", readable)
    for vcpu in range(domain.vcpus):
        make(f"{base}/cpu/{vcpu}", readable, availability="online")
    make(f"{base}/memory", readable, static_max=str(kilobytes), target=str(kilobytes), videoram="0")
    make(f"{base}/device", readable)
    make(f"{base}/control", readable)
    for feature in ("multiprocessor-suspend", "xs_reset_watches"):
        tree.write(HOST, f"{base}/control/platform-feature-{feature}", b"1")
    for path in ("control/shutdown", "control/feature-poweroff", "control/feature-reboot", "control/feature-suspend",
                 "control/sysrq", "data", "drivers", "feature", "attr", "error"):
        make(f"{base}/{path}", own)
    make(f"{base}/store", readable, port=str(rings.store_port), ring_ref=str(rings.store_frame))
    make(backend, readable, frontend=f"{base}/console", frontend_id=str(domid), online="1", state="1", protocol="vt100")
    make(f"{base}/console", readable, backend=backend, backend_id="0", limit=str(_CONSOLE_LIMIT), type="xenconsoled",
         output="pty", tty="", port=str(rings.console_port), ring_ref=str(rings.console_frame))
    make(f"/libxl/{domid}", hidden, type="pv")


def withdraw(tree: Tree, domid: Domid, handle: bytes) -> None:
    """Take away what was there for a domain that has ended."""
    backend = f"/local/domain/0/backend/console/{domid}"
    for path in (home(domid), f"/vm/{UUID(bytes=handle)}", backend, f"/libxl/{domid}"):
        if tree.find(path) is not None:
            tree.remove(HOST, path)
