"""The MSR policy: what a vCPU reads and writes outside the engine."""

from types import SimpleNamespace

import pytest

from abi.cpuid import XEN_HYPERCALL_MSR
from domains import envlayout as env
from domains.msr import MSR_TSC, MSR_TSC_AUX, MsrFault, Msrs

ABSENT = 0x12345678


@pytest.fixture
def filled():
    return []


@pytest.fixture
def msrs(filled):
    engine = SimpleNamespace(q=dict.fromkeys(range(env.FEATURES), 0), flush_tlb=lambda: None)
    return Msrs(engine, lambda: 4711, XEN_HYPERCALL_MSR, filled.append)


def test_the_hypercall_msr_reads_as_zero_before_and_after_a_page_was_asked_for(msrs, filled):
    assert msrs.read(XEN_HYPERCALL_MSR) == 0
    msrs.write(XEN_HYPERCALL_MSR, 0x5000)
    assert filled == [0x5000]
    assert msrs.read(XEN_HYPERCALL_MSR) == 0


def test_the_time_stamp_is_the_clocks_and_cannot_be_set(msrs):
    msrs.write(MSR_TSC, 1)
    assert msrs.read(MSR_TSC) == 4711


def test_the_auxiliary_value_is_kept_and_has_32_bits(msrs):
    msrs.write(MSR_TSC_AUX, 7)
    assert msrs.read(MSR_TSC_AUX) == 7
    with pytest.raises(MsrFault):
        msrs.write(MSR_TSC_AUX, 1 << 32)


@pytest.mark.parametrize("index", [ABSENT, XEN_HYPERCALL_MSR + 1])
def test_what_is_not_there_is_a_fault(msrs, index):
    with pytest.raises(MsrFault):
        msrs.read(index)
    with pytest.raises(MsrFault):
        msrs.write(index, 0)
