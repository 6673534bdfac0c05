import pytest
from hypercall_host import READ_ONLY, SIZE, Caller, SmallHost

from abi.errno import Errno
from abi.features import Feature
from abi.version import COMPILE_INFO, FEATURE_INFO, VersionOp
from hypervisor.xen_version import XenVersion, domain_handle

XEN_VERSION, BUFFER, UNWRITABLE, UNREADABLE = 17, 0x1000, SIZE - READ_ONLY, SIZE


def ask(operation, size, caller=None, host=None):
    caller = caller or Caller(1, 1)
    caller.memory.bytes[BUFFER:BUFFER + size + 1] = b"\xaa" * (size + 1)
    assert (host or SmallHost()).call(XEN_VERSION, operation, BUFFER, caller=caller) == 0
    assert caller.memory.bytes[BUFFER + size] == 0xAA
    return caller.memory.read(BUFFER, size)


def features(host, caller, submap=0):
    shape = FEATURE_INFO.at(caller.width)
    caller.memory.write(BUFFER, shape.pack(submap, 0))
    assert host.call(XEN_VERSION, VersionOp.get_features, BUFFER, caller=caller) == 0
    bits = shape.unpack(caller.memory.read(BUFFER, shape.size))[1]
    return {feature.name for feature in Feature if bits >> feature & 1}


@pytest.mark.parametrize(("text", "number", "extra"), [
    ("4.17", 4 << 16 | 17, b".0"), ("4.11", 4 << 16 | 11, b".0"), ("4.11.4", 4 << 16 | 11, b".4"),
    ("4.18-rc", None, None), ("4", None, None), ("x.y", None, None), ("4.17.with-a-long-tail", None, None),
    ("4.70000", None, None), ("", None, None)])
def test_a_version_is_major_and_minor_and_a_short_tail(text, number, extra):
    if number is None:
        with pytest.raises(ValueError, match="is no Xen version"):
            XenVersion(text)
    else:
        version = XenVersion(text)
        assert version.number == number
        assert version.extraversion == extra.ljust(16, b"\0")


def test_the_version_is_returned_whatever_the_argument():
    assert SmallHost().call(XEN_VERSION, VersionOp.version, UNREADABLE) == 0x40011
    assert SmallHost(version="4.11").call(XEN_VERSION, VersionOp.version, 0) == 0x4000B


def test_the_operation_is_an_int():
    assert SmallHost().call(XEN_VERSION, 1 << 32, 0) == 0x40011


def test_strings_fill_their_buffers():
    assert ask(VersionOp.extraversion, 16) == b".0".ljust(16, b"\0")
    assert ask(VersionOp.capabilities, 1024).startswith(b"xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 ")
    assert ask(VersionOp.changeset, 64).startswith(b"unavailable\0")
    info = COMPILE_INFO.at(64).named(ask(VersionOp.compile_info, 144))
    assert info.compile_by.rstrip(b"\0") == b"domus"


def test_a_guest_does_not_see_the_hosts_command_line():
    assert ask(VersionOp.commandline, 9) == b"<denied>\0"
    assert ask(VersionOp.commandline, 1024, Caller(0, 0)) == bytes(1024)


def test_the_handle_is_the_domains_own_uuid():
    assert ask(VersionOp.guest_handle, 16) == domain_handle(1) != domain_handle(2)
    assert len(domain_handle(0x7FEF)) == 16


def test_only_pv_guests_learn_where_the_hypervisor_is():
    assert ask(VersionOp.platform_parameters, 8) == bytes(8)
    assert ask(VersionOp.platform_parameters, 8, Caller(2, 3)) == 0xFFFF800000000000.to_bytes(8, "little")
    assert ask(VersionOp.platform_parameters, 4, Caller(2, 3, 32)) == 0xF5800000.to_bytes(4, "little")


def test_the_pages_size_is_returned_and_takes_no_pointer():
    assert SmallHost().call(XEN_VERSION, VersionOp.pagesize, 0) == 4096
    assert SmallHost().call(XEN_VERSION, VersionOp.pagesize, BUFFER) == -Errno.EINVAL


def test_a_pvh_guest_has_the_features_of_hvm():
    assert features(SmallHost(), Caller(1, 1)) == {
        "writable_page_tables", "auto_translated_physmap", "hvm_callback_vector", "hvm_safe_pvclock",
        "memory_op_vnode_supported", "not_direct_mapped"}


def test_a_pv_guest_has_others():
    host = SmallHost()
    expected = {"mmu_pt_update_preserve_ad", "highmem_assist", "gnttab_map_avail_bits", "memory_op_vnode_supported",
                "direct_mapped"}
    assert features(host, Caller(2, 3)) == expected
    host.call(21, 0, 3, caller=Caller(2, 3))  # pae_extended_cr3
    assert features(host, Caller(2, 3, 32)) == expected | {"pae_pgdir_above_4gb"}


def test_domain_0_may_run_as_such():
    assert "dom0" in features(SmallHost(), Caller(0, 0))


def test_xen_4_11_does_not_know_of_direct_mapping():
    host = SmallHost(version="4.11")
    assert not features(host, Caller(1, 1)) & {"direct_mapped", "not_direct_mapped"}


def test_there_is_one_submap():
    caller = Caller(1, 1)
    caller.memory.write(BUFFER, FEATURE_INFO.at(64).pack(1, 0))
    assert SmallHost().call(XEN_VERSION, VersionOp.get_features, BUFFER, caller=caller) == -Errno.EINVAL


def test_the_build_id_is_refused_and_there_is_none():
    host, caller = SmallHost(), Caller(0, 0)
    assert host.call(XEN_VERSION, VersionOp.build_id, 0) == -Errno.EPERM
    assert host.call(XEN_VERSION, VersionOp.build_id, 0, caller=caller) == -Errno.ENODATA
    assert host.call(XEN_VERSION, VersionOp.build_id, BUFFER, caller=caller) == -Errno.EINVAL
    caller.memory.write(BUFFER, b"\x20\0\0\0")
    assert host.call(XEN_VERSION, VersionOp.build_id, BUFFER, caller=caller) == -Errno.ENODATA


@pytest.mark.parametrize("operation", [1, 2, 3, 4, 5, 6, 8, 9])
def test_a_wild_pointer_is_efault(operation):
    assert SmallHost().call(XEN_VERSION, operation, UNWRITABLE) == -Errno.EFAULT
    assert SmallHost().call(XEN_VERSION, operation, UNREADABLE) == -Errno.EFAULT


def test_an_unknown_operation_is_enosys_and_said():
    host = SmallHost()
    assert host.call(XEN_VERSION, 11, BUFFER) == -Errno.ENOSYS
    assert "xen_version/11" in host.lines[0][1]
