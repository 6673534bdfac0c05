"""What makes a host of several nodes out of the parts: who is where, and how a process gets at what is elsewhere."""

from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from abi.hvm import HvmParam
from abi.types import PAGE_SHIFT, Domid
from domains.node import Node
from domains.seat import BatonTable
from hypervisor.hypervisor import Hypervisor
from hypervisor.place import PlaceTable
from toolstack.errors import HostError
from toolstack.link import Address, Endpoint
from toolstack.link_events import LinkError
from toolstack.node_agent import Agent
from toolstack.plan import HostPlan
from toolstack.session import scrubber

if TYPE_CHECKING:
    from toolstack.actor import Member

_STORE = 0
"""The store's state is domain 0's, and lives on the first node."""


def process_rows(plan: HostPlan) -> int:
    """How many processes a host may have: the hypervisor's, those of the plan, one for each domain that has moved,
    and one that is about to take one."""
    return 1 + len(plan.actors) + (1 + len(plan.domains) if plan.nodes > 1 else 0)


def free_process(hv: Hypervisor, plan: HostPlan, batons: BatonTable) -> int:
    """A process that has no domain, and will be the one of a domain that moves."""
    taken = set(hv.vcpus.process[1:])
    return next(process for process in range(1 + len(plan.actors), batons.rows) if process not in taken)


def seat_processes(plan: HostPlan, number: int, batons: BatonTable) -> None:
    """Say in the table of node `number` on which nodes the processes are.  Rows that nobody has yet are its own."""
    batons.node[:] = array("H", [number] * batons.rows)
    for process, actor in enumerate(plan.actors, 1):
        batons.node[process] = actor.node


def domain_homes(plan: HostPlan) -> list[int]:
    """By domid, the node that it lives on."""
    homes = {domid: actor.node for actor in plan.actors for domid in actor.domids}
    return [homes.get(domid, 0) for domid in range(1 + max(homes, default=0))]


def join_node(hv: Hypervisor, node: Node) -> None:
    """Have this process's hypervisor fetch what it is about to touch and is on another node."""
    hv.set_node(node.reach, node.fetch)
    serve = hv.serve_store

    def serve_store(domid: Domid) -> None:
        node.reach(_STORE)
        serve(domid)

    hv.serve_store = serve_store


def publish_ring(hv: Hypervisor, domid: Domid) -> None:
    """Say where a domain's page for the store is, which has just been built."""
    found = hv.memory.find(domid, hv.params.get(domid, HvmParam.STORE_PFN))
    hv.state.table(PlaceTable).store_ring[domid] = 0 if found is None else found[0] << PAGE_SHIFT


def make_agent(owner: "Member", number: int, bell: int, host: str, secret: bytes,
               lost: Callable[[int], None] = lambda node: None) -> Agent:
    """The agent of the node whose memory `owner` has.  Raises HostError."""
    plan, hv = owner.plan, owner.hv
    assert owner.node is not None
    try:
        endpoint = Endpoint(number, host, secret)
    except LinkError as error:
        raise HostError(f"node {number} cannot listen to the others at {host}: {error}") from error
    return Agent(hv.state, number, domain_homes(plan), owner.batons, owner.node, owner.baton, endpoint, secret, bell,
                 owner.file, scrubber(owner.memory), lost)


def join_nodes(agent: Agent, addresses: Mapping[int, Address]) -> None:
    """Make the links.  Raises HostError."""
    try:
        agent.join(addresses)
    except LinkError as error:
        raise HostError(f"the nodes cannot reach each other: {error}") from error
