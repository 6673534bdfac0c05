"""A domain that was built and has not run, for tests of its vCPUs."""

import mmap
from pathlib import Path

from domains.native import BlockMeter
from toolstack.load import from_data
from toolstack.session import build_domain, create_domains, make_hypervisor, shape_of


class Nowhere:
    """Where what a host would show goes."""

    def log(self, text):
        pass

    def console(self, domid, data):
        pass

    def ended(self, domid, reason, detail):
        pass


def new_domain(library, vcpus, kind="pvh"):
    """A host with one domain, its vCPUs by row, and their meter; `library` is the native front's, or None."""
    plan = from_data({"domains": {"d": {"kernel": "first_steps", "type": kind, "vcpus": vcpus}}}, Path()).plan()
    meter = BlockMeter(library)
    hv = make_hypervisor(plan, mmap.mmap(-1, shape_of(plan).size), Nowhere())
    create_domains(hv, plan)
    return hv, build_domain(hv, plan.name, plan.domains[0], meter), meter
