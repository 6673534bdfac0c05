"""Hosts whose domains are moved about, and runtimes that have several nodes without Ray."""

import dataclasses
import random
import threading

import xenctrl
from experiments import node_processes


class Nodes:
    """A runtime of so many nodes, to which actors are dealt out in turn; `busy(handle)` is called while it runs."""

    def __init__(self, nodes, busy=None):
        self._nodes, self._busy = nodes, busy
        self.report = None
        self.errors = []

    def run(self, plan, options, sink):
        plan = dataclasses.replace(plan, least_nodes=self._nodes, actors=tuple(
            dataclasses.replace(actor, node=index % self._nodes) for index, actor in enumerate(plan.actors)))
        started, threads = options.started, []

        def begin(running):
            started(running)
            if self._busy is not None:
                threads.append(threading.Thread(target=self._work, args=(xenctrl.Handle(running),)))
                threads[0].start()

        try:
            self.report = node_processes.run(plan, dataclasses.replace(options, started=begin), sink)
        finally:
            for thread in threads:
                thread.join()
        return self.report

    def _work(self, handle):
        try:
            self._busy(handle)
        except Exception as error:
            self.errors.append(error)


def wander(seed, domids, nodes):
    """Moves one domain after the other anywhere, until the run is over."""
    noise = random.Random(seed)

    def work(handle):
        while True:
            try:
                xenctrl.domain_migrate(handle, noise.choice(domids), noise.randrange(nodes))
            except ValueError:  # it is there already, or has ended
                continue
            except xenctrl.InterfaceError:
                return

    return work


