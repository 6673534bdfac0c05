"""The language of structure layouts, apart from any real structure."""

import pytest

from abi.layout import I16, U8, U16, U32, U64, U64_ALIGNED, ULONG, Array, ByWidth, Each, Layout, Union
from abi.naming import c_name
from abi.sched import SchedOp
from abi.xen import VmAssist


@pytest.mark.parametrize(("bits", "offset", "size"), [(32, 4, 12), (64, 8, 16)])
def test_a_64_bit_integer_is_aligned_to_four_bytes_in_32_bit_guests(bits: int, offset: int, size: int) -> None:
    shape = Layout("it", flag=U8, time=U64).at(bits)
    assert (shape.offset["time"], shape.size) == (offset, size)


@pytest.mark.parametrize("bits", [32, 64])
def test_an_aligned_64_bit_integer_is_not(bits: int) -> None:
    assert Layout("it", flag=U8, time=U64_ALIGNED).at(bits).offset["time"] == 8


def test_padding_is_neither_packed_nor_unpacked() -> None:
    shape = Layout("it", flag=U8, number=I16, last=U8).at(64)
    data = shape.pack(1, -2, 3)
    assert data == b"\x01\x00\xfe\xff\x03\x00"
    assert shape.unpack(data) == (1, -2, 3)
    assert shape.named(data).number == -2


def test_fields_of_an_inner_structure_carry_its_name() -> None:
    inner = Layout("inner", low=U32, high=ULONG)
    shape = Layout("it", first=U8, pair=inner).at(64)
    assert shape.names == ("first", "pair_low", "pair_high")
    assert (shape.offset["pair"], shape.offset["pair_high"]) == (8, 16)
    assert (shape.width["pair"], shape.width["pair_high"]) == (16, 8)


def test_an_array_is_bytes_and_each_is_numbers() -> None:
    shape = Layout("it", raw=Array(U8, 2), each=Each(U16, 3)).at(32)
    assert shape.unpack(b"ab\x01\x00\x02\x00\x03\x00") == (b"ab", 1, 2, 3)
    assert shape.names == ("raw", "each_0", "each_1", "each_2")
    assert (shape.offset["each"], shape.width["each"]) == (2, 6)
    assert (shape.offset["each_2"], shape.width["each_2"]) == (6, 2)


@pytest.mark.parametrize("bits", [32, 64])
def test_members_of_a_union_begin_at_one_place(bits: int) -> None:
    shape = Layout("it", kind=U8, u=Union(number=ULONG, pair=Layout("", low=U8, high=U8))).at(bits)
    assert shape.offset["u"] == shape.offset["u_number"] == shape.offset["u_pair_low"] == bits // 8
    assert shape.offset["u_pair_high"] == bits // 8 + 1
    assert shape.unpack(bytes(shape.size)) == (0, bytes(bits // 8))


def test_a_field_may_exist_for_one_width_only() -> None:
    layout = Layout("it", before=U32, extra=ByWidth(None, U32), after=ByWidth(U16, U32))
    assert layout.at(32).offset == {"before": 0, "after": 4}
    assert layout.at(64).offset == {"before": 0, "extra": 4, "after": 8}


def test_a_structure_may_exist_for_one_width_only() -> None:
    layout = Layout("it", 64, only=U64)
    assert layout.at(64).size == 8
    with pytest.raises(ValueError, match="no 32-bit layout"):
        layout.at(32)


def test_names_that_python_forbids_are_found_by_their_own_name() -> None:
    assert Layout("it", in_=U32, out=U32).at(32).offset == {"in": 0, "out": 4}
    assert c_name(SchedOp.yield_) == "SCHEDOP_yield"
    assert c_name(VmAssist._4gb_segments) == "VMASST_TYPE_4gb_segments"
