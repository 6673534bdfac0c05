"""What VCPUOP_initialise takes for the state of a PVH vCPU, and what becomes of it."""

import pytest

from abi.errno import Errno, XenError
from abi.hvm import VCPU_HVM_CONTEXT, VCPU_HVM_MODE_32B, VCPU_HVM_MODE_64B, VCPU_HVM_X86_32, VCPU_HVM_X86_64
from domains import envlayout as env
from domains import segments
from domains.hvm_context import SIZE, load_context
from domains.pvh_start import WordsCopy, set_boot_state, set_real_mode_state
from domains.segments import EFER_LMA, HF_CPL, HF_CS32, HF_CS64, HF_PE

PE, PG, PAE, LME, NXE = 1, 1 << 31, 1 << 5, 1 << 8, 1 << 11
REGISTERS = {"cr0": PE, "eflags": 2, "eip": 0x1000, "esp": 0x2000, "ebx": 7}
SEGMENTS = {"cs_limit": 0xFFFFF, "cs_ar": 0xC9B, "ds_limit": 0xFFFFF, "ds_ar": 0xC93, "ss_limit": 0xFFFFF,
            "ss_ar": 0xC93, "es_limit": 0xFFFFF, "es_ar": 0xC93, "tr_limit": 0x67, "tr_ar": 0x8B}
LONG = {"rip": 0xFFFFFFFF81000000, "rsp": 0x8000, "rdi": 5, "rflags": 0x246, "cr0": PG | PE, "cr3": 0x5000,
        "cr4": PAE, "efer": LME | NXE}


def context(mode, layout, fields, pad=0):
    shape = layout.at(64)
    data = bytearray(VCPU_HVM_CONTEXT.at(64).size)
    data[:8] = mode.to_bytes(4, "little") + pad.to_bytes(4, "little")
    for name, value in fields.items():
        at = 8 + shape.offset[name]
        data[at:at + shape.width[name]] = value.to_bytes(shape.width[name], "little")
    return bytes(data)


def protected(**changes):
    return context(VCPU_HVM_MODE_32B, VCPU_HVM_X86_32, REGISTERS | SEGMENTS | changes)


def long(**changes):
    return context(VCPU_HVM_MODE_64B, VCPU_HVM_X86_64, LONG | changes)


def booted():
    words = WordsCopy(bytes(8 * env.WORDS))
    set_boot_state(words)
    return words


def loaded(data):
    words = booted()
    load_context(words, data)
    return words


def test_long_mode_begins_in_flat_64_bit_segments():
    words = loaded(long())
    q = words.q
    assert (q[env.RIP], q[env.RSP], q[env.RDI], q[env.CR3]) == (0xFFFFFFFF81000000, 0x8000, 5, 0x5000)
    assert q[env.EFER] == LME | NXE | EFER_LMA
    assert q[env.EFLAGS] == 0x246
    assert words.d[env.HFLAGS] & (HF_CS64 | HF_CPL) == HF_CS64
    assert segments.read(words, env.CS) == (0, 0, 0xFFFFFFFF, 0xA09B00)
    assert segments.read(words, env.TR).limit == 0x67


def test_protected_mode_begins_in_the_segments_that_are_given():
    words = loaded(protected(cs_base=0x10000, ds_ar=0, es_ar=0x60 | 0x90 | 0x1, cs_ar=0xCFA, ss_ar=0xCF2))
    assert segments.read(words, env.CS) == (0, 0x10000, 0xFFFFFFFF, 0xC0FB00)
    assert segments.read(words, env.DS).flags == 0
    assert words.d[env.HFLAGS] & (HF_CS32 | HF_PE | HF_CPL) == HF_CS32 | HF_PE | 3
    assert words.q[env.RBX] == 7


@pytest.mark.parametrize(("given", "becomes"), [({"cs_ar": 0xC9A}, (env.CS, 0xC09B00)), ({"tr_ar": 0x89},
                         (env.TR, 0x8B00)), ({"ss_ar": 0xC92}, (env.SS, 0xC09300))])
def test_a_segment_that_is_loaded_has_been_accessed_and_its_task_is_busy(given, becomes):
    index, flags = becomes
    assert segments.read(loaded(protected(**given)), index).flags == flags


def test_long_mode_is_active_with_paging_alone():
    assert loaded(protected(efer=LME, cr0=PE)).q[env.EFER] == LME
    assert loaded(protected(efer=LME, cr0=PE | PG, cr4=PAE)).q[env.EFER] == LME | EFER_LMA


@pytest.mark.parametrize("change", [
    {"pad1": 1}, {"pad2": 1 << 40}, {"cs_ar": 0x1C9B}, {"cs_ar": 0}, {"ss_ar": 0}, {"tr_ar": 0}, {"cs_ar": 0xC93},
    {"cs_ar": 0xC1B}, {"cs_ar": 0xC8B}, {"ss_ar": 0xC9B}, {"ss_ar": 0xC91}, {"ss_ar": 0xC13}, {"ds_ar": 0xC99},
    {"es_ar": 0xC99}, {"ds_ar": 0xC82}, {"ds_ar": 0xC13}, {"tr_ar": 0x9B}, {"tr_ar": 0x82}, {"tr_ar": 0x0B},
    {"ss_ar": 0xCF3}, {"ds_ar": 0xCF3}, {"es_ar": 0xCB3}, {"efer": EFER_LMA}, {"efer": 1 << 12}, {"cr4": 1 << 13},
    {"cr4": 1 << 11}, {"cs_ar": 0x49B, "cs_limit": 0xFFF}])
def test_what_xen_does_not_take_in_protected_mode(change):
    with pytest.raises(XenError) as refused:
        loaded(protected(**change))
    assert refused.value.errno == Errno.EINVAL


@pytest.mark.parametrize("change", [{"ds_ar": 0}, {"es_ar": 0}, {"ds_ar": 0xC9B}, {"ds_ar": 0xC91},
                                    {"cs_ar": 0x49B, "cs_limit": 0x1000}, {"cr4": 1 << 8 | 1 << 2}])
def test_what_it_does_take(change):
    loaded(protected(**change))


@pytest.mark.parametrize("change", [{"rip": 1 << 47}, {"cr0": PE}, {"cr4": 0}, {"efer": NXE},
                                    {"efer": LME | 1 << 14}, {"cr4": PAE | 1 << 12}])
def test_what_xen_does_not_take_in_long_mode(change):
    with pytest.raises(XenError) as refused:
        loaded(long(**change))
    assert refused.value.errno == Errno.EINVAL


@pytest.mark.parametrize(("mode", "pad"), [(2, 0), (0xFFFFFFFF, 0), (VCPU_HVM_MODE_64B, 1)])
def test_there_are_two_modes(mode, pad):
    with pytest.raises(XenError) as refused:
        loaded(context(mode, VCPU_HVM_X86_64, LONG, pad))
    assert refused.value.errno == Errno.EINVAL


def test_nothing_has_changed_where_it_is_refused():
    words = booted()
    before = bytes(words.data)
    with pytest.raises(XenError):
        load_context(words, long(cr4=PAE | 1 << 13))
    assert bytes(words.data) == before


def test_its_size_is_the_same_for_both_widths():
    assert SIZE == VCPU_HVM_CONTEXT.at(32).size == 128


def test_a_start_up_message_means_real_mode_at_a_page():
    words = booted()
    load_context(words, long())
    set_real_mode_state(words, 0x9A)
    assert segments.read(words, env.CS) == (0x9A00, 0x9A000, 0xFFFF, 0x9B00)
    assert (words.q[env.RIP], words.q[env.CR0], words.q[env.EFER], words.q[env.RSP]) == (0, 0x10, 0, 0)
    assert not words.d[env.HFLAGS] & (HF_PE | HF_CS32 | HF_CS64)
