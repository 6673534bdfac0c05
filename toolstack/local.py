"""The local runtime: all domains in this process, one after the other, with nothing to hand over.

It is what tests use by default, since it starts in a fraction of a second.
"""

import mmap
import threading
import time

from abi.types import Domid, VcpuRow
from domains.fast_path import load_fast_path
from domains.native import BlockMeter
from domains.runner import Runner, vcpus_of
from domains.seat import OnlySeat
from domains.selfcheck import selfcheck
from domains.vcpu import Vcpu
from hypervisor.trace import run_digest
from toolstack.checkpoint_parts import DomainPart, restore_domain, save_domain
from toolstack.checkpointer import Checkpointer, forget_absent, restore_host
from toolstack.console import Console
from toolstack.jobs import Jobs
from toolstack.outside import Outside
from toolstack.plan import HostPlan
from toolstack.report import Outcome, RunReport
from toolstack.runtime import RunOptions, Sink
from toolstack.session import (
    OUTCOMES,
    build_domain,
    create_domains,
    domain_report,
    make_hypervisor,
    memory_file,
    shape_of,
    start_domains,
)
from toolstack.trace import Stream, write_trace


class LocalIo:
    """Output of a host in this process: lines go to `sink` as they are written."""

    def __init__(self, plan: HostPlan, sink: Sink) -> None:
        self._sink = sink
        self._names = {domain.domid: domain.name for domain in plan.domains}
        self.consoles = {domain.domid: Console() for domain in plan.domains}
        self.details: dict[int, str] = {}

    def log(self, text: str) -> None:
        self._sink.hypervisor_line(text)

    def console(self, domid: Domid, data: bytes) -> None:
        for line in self.consoles[domid].feed(data):
            self._sink.console_line(self._names[domid], line)

    def ended(self, domid: Domid, reason: int, detail: str) -> None:
        self.details[domid] = detail
        self.flush(domid)

    def flush(self, domid: int) -> None:
        """Show an unfinished last line."""
        for line in self.consoles[domid].flush():
            self._sink.console_line(self._names[domid], line)


def run(plan: HostPlan, options: RunOptions, sink: Sink) -> RunReport:
    """Boot and run `plan` in this process; see `toolstack.runtime.Runtime`."""
    with memory_file(plan.name, shape_of(plan).size) as descriptor:
        return _run(plan, options, sink, descriptor)


def _run(plan: HostPlan, options: RunOptions, sink: Sink, descriptor: int) -> RunReport:
    started = time.perf_counter()
    meter = BlockMeter(load_fast_path())
    selfcheck(meter)
    memory = mmap.mmap(descriptor, shape_of(plan).size)
    pieces: dict[int, list[bytes]] = {domain.domid: [] for domain in plan.domains}
    io, saved = LocalIo(plan, sink), options.restore
    keep = (lambda domid, data: pieces[domid].append(data)) if options.trace_path is not None else None
    boot = None if saved is None else restore_host(saved, descriptor, traced=keep is not None)
    hv = make_hypervisor(plan, memory, io, boot=boot, trace_sink=keep)
    if saved is None:
        create_domains(hv, plan)
    forget_absent(hv, plan)
    vcpus: dict[VcpuRow, Vcpu] = {}
    for domain in plan.domains:
        if saved is None:
            vcpus |= build_domain(hv, plan.name, domain, meter)
        else:
            vcpus |= restore_domain(hv, domain, saved.domain(domain.domid), io, pieces[domain.domid], meter)
    if saved is None:
        start_domains(hv, plan)

    def collect() -> dict[int, DomainPart]:
        return {domain.domid: save_domain(hv, Domid(domain.domid), vcpus, io, pieces[domain.domid])
                for domain in plan.domains}

    checkpointer = Checkpointer(hv, plan, descriptor, collect, traced=keep is not None)
    checkpointer.begin(saved)
    jobs = Jobs(hv.host)
    timed_out = False

    def expire() -> None:
        nonlocal timed_out
        timed_out = True
        hv.host.stop[0] = 1

    def stop() -> None:
        hv.host.stop[0] = 1

    options.stop.callbacks.append(stop)
    if options.stop.requested:
        stop()
    timer = None if options.timeout is None else threading.Timer(options.timeout, expire)
    if timer is not None:
        timer.daemon = True
        timer.start()

    def wait_until(time_ns: int) -> None:
        time.sleep(min(max(time_ns - hv.clock.now(), 0) / 1e9, _NAP))

    jobs.begin()
    options.started(Outside(hv, jobs))
    try:
        seat = OnlySeat(lambda: bool(hv.host.outcome[0]))
        ended = Runner(hv, vcpus, seat, jobs.serve, wait_until, checkpointer.take).run()
    finally:
        if timer is not None:
            timer.cancel()
        options.stop.callbacks.remove(stop)
    outcome: Outcome = "timeout" if timed_out and OUTCOMES[ended] == "interrupted" else OUTCOMES[ended]
    reports = {}
    for domain in plan.domains:
        io.flush(domain.domid)
        mine = [vcpus[row] for row in vcpus_of(hv, Domid(domain.domid)) if row in vcpus]
        reports[domain.name] = domain_report(hv, domain, io.consoles[domain.domid].lines,
                                             io.details.get(domain.domid, ""), mine)
    digest = run_digest((Domid(domain.domid), domain.name, hv.trace.digest(Domid(domain.domid)))
                        for domain in plan.domains)
    error = None
    if options.trace_path is not None:
        hv.trace.finish()
        error = write_trace(
            options.trace_path,
            [Stream(Domid(domain.domid), domain.name, pieces[domain.domid]) for domain in plan.domains],
            clock=plan.clock.mode, digest=digest,
            hypercalls={row.number: row.name for row in hv.dispatcher.rows.values() if row.source})
    return RunReport(plan.name, outcome, reports, digest, time.perf_counter() - started,
                     max((report.virtual_time_ns for report in reports.values()), default=0), "local",
                     plan.clock.mode, plan.seed, error)


_NAP = 0.05
"""Seconds of the longest sleep: a stop that is asked for is seen after it."""
