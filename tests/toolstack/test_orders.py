"""What the hypervisor's process orders is carried out in order, and who ordered waits for exactly his answer."""

import threading
from collections.abc import Callable

import pytest

from toolstack.jobs import RunOverError
from toolstack.orders import OrderError, Orders, Work


class Giver:
    """Gives an order in a thread of its own, and keeps what it gets."""

    def __init__(self, give: Callable[[], object]) -> None:
        self.result: object = None
        self.error: Exception | None = None
        self._give = give
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._give()
        except (OrderError, RunOverError) as error:
            self.error = error

    def waits(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(30)
        assert not self.waits()


@pytest.fixture
def over() -> threading.Event:
    return threading.Event()


@pytest.fixture
def orders(over: threading.Event) -> Orders:
    return Orders(over.is_set)


def test_an_order_says_what_and_gets_what_it_gave(orders: Orders) -> None:
    giver = Giver(lambda: orders.give(Work.MAKE, 4, node=1, domid=7))
    order = orders.next()
    assert order is not None
    assert (order.work, order.process, order.node, order.domid) == (Work.MAKE, 4, 1, 7)
    assert giver.waits()
    orders.answer(order.number, "", {"what": "it gave"})
    giver.join()
    assert (giver.result, giver.error) == ({"what": "it gave"}, None)


def test_an_order_that_fails_raises_what_was_answered(orders: Orders) -> None:
    giver = Giver(lambda: orders.give(Work.ADOPT, 4, domid=7))
    order = orders.next()
    assert order is not None
    orders.answer(order.number, "process 4 is gone")
    giver.join()
    assert str(giver.error) == "process 4 is gone"


def test_answers_go_to_whom_they_are_for_in_any_order(orders: Orders) -> None:
    givers, taken = {}, []
    for process in (1, 2, 3):
        givers[process] = Giver(lambda process=process: orders.give(Work.RELEASE, process))  # type: ignore[misc]
        order = orders.next()
        assert order is not None
        taken.append(order)
    assert [order.process for order in taken] == [1, 2, 3]
    assert len({order.number for order in taken}) == 3
    for order in reversed(taken):
        orders.answer(order.number, "", order.process * 10)
        givers[order.process].join()
    assert {process: giver.result for process, giver in givers.items()} == {1: 10, 2: 20, 3: 30}


def test_an_answer_that_nobody_waits_for_is_of_no_use(orders: Orders) -> None:
    orders.answer(99, "too late")
    giver = Giver(lambda: orders.give(Work.END, 1))
    order = orders.next()
    assert order is not None
    orders.answer(order.number, "")
    giver.join()
    orders.answer(order.number, "too late")
    assert giver.error is None


def test_the_end_of_the_run_ends_all_waiting(orders: Orders, over: threading.Event) -> None:
    giver, taker = Giver(lambda: orders.give(Work.SAVE)), Giver(lambda: [orders.next(), orders.next()])
    over.set()
    giver.join()
    taker.join()
    assert isinstance(giver.error, RunOverError)
    assert isinstance(taker.result, list)
    assert taker.result[-1] is None
