"""Carries out what the hypervisor's actor orders of the process that started the run: see `toolstack.orders`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import toolstack.ray_environment  # noqa: F401 - Ray reads its environment when it is imported

# isort: split
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from toolstack.checkpoint_parts import DomainPart
from toolstack.orders import Order, Work


class RayOrders:
    """`make(order)` starts an actor that attaches to the host's memory: the actor, and the reference to wait for;
    `begin(process, actor)` has it take part; `actor_of(process)` is the one that does, or raises KeyError.  `save()` is
    what all that live keep of their domains.
    """

    def __init__(self, hypervisor: Any, make: Callable[[Order], tuple[Any, Any]],
                 begin: Callable[[int, Any], None], actor_of: Callable[[int], Any], save: Callable[[], Any]) -> None:
        self._hypervisor, self._make, self._begin, self._actor_of = hypervisor, make, begin, actor_of
        self._save = save
        self._next = hypervisor.next_order.remote()
        self._parts: dict[int, Any] = {}
        self._making: dict[Any, tuple[Order, Any]] = {}
        self._waiting: dict[Any, Order] = {}

    def pending(self) -> list[Any]:
        """References to wait for, beside others."""
        return [*([] if self._next is None else [self._next]), *self._making, *self._waiting]

    def busy(self) -> set[Any]:
        """Actors of which something is being waited for."""
        return {self._actor_of(order.process) for order in self._waiting.values()}

    def ready(self, reference: Any) -> bool:
        """See to a reference that is ready; False where it is none of these."""
        if reference == self._next:
            self._next = None
            try:
                order: Order | None = ray.get(reference)
            except RayError:  # the hypervisor's actor is gone, which its run says, too
                return True
            if order is not None:
                self._next = self._hypervisor.next_order.remote()
                self._carry_out(order)
        elif reference in self._making:
            order, actor = self._making.pop(reference)
            error = _error(reference)
            if not error:
                self._begin(order.process, actor)
            self._answer(order, error)
        elif reference in self._waiting:
            self._answer(self._waiting.pop(reference), _error(reference))
        else:
            return False
        return True

    def _carry_out(self, order: Order) -> None:
        try:
            if order.work == Work.MAKE:
                actor, reference = self._make(order)
                self._making[reference] = order, actor
                return
            if order.work == Work.SAVE:
                self._hypervisor.answer.remote(order.number, "", self._save())
                return
            actor = self._actor_of(order.process)
            if order.work == Work.RELEASE:
                reference = self._parts[order.domid] = actor.release.remote(order.domid)
            elif order.work == Work.ADOPT:
                reference = actor.adopt.remote(order.domid, self._parts.pop(order.domid))
            else:
                reference = actor.retire.remote()
            self._waiting[reference] = order
        except (KeyError, RayError) as error:
            self._answer(order, f"process {order.process} is gone ({type(error).__name__})")

    def _answer(self, order: Order, error: str) -> None:
        self._hypervisor.answer.remote(order.number, error)


def _error(reference: Any) -> str:
    """What a call raised, in one line; empty where it did not."""
    try:
        ready, _ = ray.wait([reference], timeout=0, fetch_local=False)
        assert ready
        ray.get(reference)
    except RayTaskError as error:
        return f"{error.cause}".partition("\n")[0] or type(error.cause).__name__
    except RayError as error:
        return f"its actor died ({type(error).__name__})"
    return ""


def saved_parts(actors: Sequence[Any]) -> list[Mapping[int, DomainPart]]:
    """What each actor that lives keeps of its domains, for a checkpoint."""
    parts: list[Mapping[int, DomainPart]] = []
    for reference in [actor.save.remote() for actor in actors]:
        with suppress(RayActorError):
            parts.append(ray.get(reference))
    return parts
