"""Xen's CPUID leaves (arch-x86/cpuid.h), leaf by leaf and subleaf by subleaf, as Xen 4.17 answers them."""

import pytest

from abi.cpuid import XEN_CPUID_FIRST_LEAF
from domains.cpuid import Cpuid, XenLeaves

ZEROS = (0, 0, 0, 0)


def leaves(*, hvm):
    return Cpuid(XenLeaves(4 << 16 | 17, 1_000_000, 1 << 31, 1, domid=9, vcpu_id=0, hvm=hvm))


def xen_leaf(index, subleaf=0, *, hvm=True):
    return leaves(hvm=hvm).read(XEN_CPUID_FIRST_LEAF + index, subleaf)


@pytest.mark.parametrize("hvm", [True, False])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_who_xen_is_it_says_at_every_subleaf(index, hvm):
    assert xen_leaf(index, 0x80, hvm=hvm) == xen_leaf(index, hvm=hvm) != ZEROS


@pytest.mark.parametrize("subleaf", [3, 0xFFFFFFFF])
def test_the_leaf_of_time_has_three_subleaves(subleaf):
    assert ZEROS not in [xen_leaf(3, known) for known in (0, 1, 2)]
    assert xen_leaf(3, subleaf) == ZEROS


@pytest.mark.parametrize(("index", "hvm"), [(4, True), (5, False)])
def test_the_leaf_of_a_kind_of_guest_is_at_subleaf_0_and_for_that_kind(index, hvm):
    assert xen_leaf(index, hvm=hvm) != ZEROS
    assert xen_leaf(index, 1, hvm=hvm) == ZEROS
    assert xen_leaf(index, hvm=not hvm) == ZEROS


@pytest.mark.parametrize(("hvm", "last"), [(True, 4), (False, 5)])
def test_nothing_comes_after_the_leaf_that_is_said_to_be_the_last(hvm, last):
    assert xen_leaf(0, hvm=hvm)[0] == XEN_CPUID_FIRST_LEAF + last
    assert all(xen_leaf(index, hvm=hvm) == ZEROS for index in range(last + 1, 0x100))
