import shutil
import subprocess
from base64 import b64decode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains.lzo import LzoDecompressor, lzo1x

TEXT = b"".join(b"page %d of %d\n" % (n * n % 97, n) for n in range(400)) + bytes(20000) + bytes(range(256)) * 3
PACKED = b64decode(
    "iUxaTwANChoKEEAgoAlAAwkDAAANAAAAAGsBL0YAAAAAACaCAlcAAGfhAAAI91MFarAdcGFnZSAwIG9mIDAKjQExbQExrQE0bQEyrQE5bQEzzQ"
    "Q2cQE0sgEyNXEBNbEBM4UDNtgHjQY3sQE2kQk4sQE4lQw5zAaEDtkPMpkEMeEQN5QByhA3MpQB0BCwAdEQM7gW1RA2rAPZEDmBFDHdEDO4DcER"
    "N4kfMcURMZ0GMskRNYUFMskROYUbMskRNKgjyRE5lQ8yzRE0vAbNETmkBc0RNZ0NMs0ROJAByRE2mRQyyREyhR8zyRE4hQUzyRE1iQozyREykR"
    "YzyRE4vDTJETaBEzPwM4UMM8kRMawD6BGZGzPsEbQBzRE0lQ80zREznQ00zRExrAPMEbxC9CKdIDTJETiRDzTJETeZFDTJETesA8kRN70GOCs1"
    "ADkqpgA1MCoWATUxKoYBNTIq9gE1MyliAjU0Ks4CNTUqPgM1NiquAzU3Kh4ENTgqjgQ1OSr+BDYwKm4FNjEq3gU2MipOBjYzKr4GNjQqLgc2NS"
    "qeBzY2Kg4INjcqfgg2OCnqCDY5KlYJNzAqxgk3MSo2CjcyKqYKNzMqFgs3NCqGCzc1KvYLNzYqZgw3NyrWDDc4KkYNNzkqtg04MComDjgxKpYO"
    "ODIpAg84MypuDzg0Kt4PODUqThA4Nim6EDg3KiIRODgrjRE5KvoROTAqZhI5MSrSEjkyKj4TOTMpphM5NCkKFDk1KW0UOdwQjiA5NyplADgqzQ"
    "A5KTcBMTAwKqYBMTArGwIxMDIqjwIxMDMqAwMxMDQqdwMxMDUq6wMxMDYrFRU3KxoVMDgrHhUwOSsiFTEwKiUVMSuRBjHwrsyp9K7SqTE0KzQV"
    "4K/ZqTEr1Qgx6a810QU4Kr0JMfCvsVEx9K+mVTEyKxkLMf2vOdEFMyoBDDHlsDi1ATUq4gwxMitXDTEyNyrJDTH1sDXBCzkqsw4xMzAqJg8xMy"
    "uZDzHksa2AMemxMdUDNCr1EDHxsTbYASvdETH5sTPdDjgqxRIx4LKoB+Cypp0xNCsZFDHosq2kMfGyN9UDNCp3FTE0NSw5ADYssQA3LCkBOCyh"
    "ATkrGALss60UNSuZGDHws9gb9LPQH/yzyCPgtMEnNSvdGjHotNAu7LTIMvC0wDb0tNk5NisjHTE2MisqCDYzK6AI5LXaSDY1Ko0JNitdHzHstd"
    "hT8LXQV/i1yFv8tcFfNyuhITHkttBm6LbIauy2wG7wttlxNy3lIzcrKg83OCugD+C3sAPgt8mEOCwiJjgyK3gR8Le0DvC3wJP0t9mWOCtRKDHg"
    "uMie5LjAoui42KXsuKkHOSp3KjE5MircKuy4uCLwuM0DNSvdADYrTQE3LMABLDgC7LmxFTLwuakZMvC5oR0y8Lm6IDIwKo0EMu25Ms0FNSp5BT"
    "LsubMvMjA3KWYGMjAr2QYy7LmxOjLsuas+MjExKkEIMvC5ukUyMSsxCTLwuSbBKzUrxCvwublUMvC5slgyMSuJCzLwuaFgMvC5uWMy8bk4tQEy"
    "K+ErMivbDTIyNCpRDjLxuTXBCzYqQw8yMjcqug8yMisxEDLwuamFMvC5oYky8Lm5jDLxuTbYASuJEjLwuaGYMvG5MdUDNintEzLsuaKjMjMr2R"
    "Qy7LmxqjLwuamuMvC5o7IyNDIsOQAzLLEANCwpATUroAHwudgQ8LmtFDQrgRky7LnYG+y50B/wucgj8LnBJzUr2Rsy8LnQLvC5yDLwucA28LnZ"
    "OTUrMx4yNTkrKgg2MCugCPC52kg2MiqNCTYrgSAy7LnYU+y50Ffwuchb8LnBXzYr2SIy8LnQZvC5yGrwucBu8LnZcTcrMSUy8LnKeTc1K6AP8L"
    "nRAzcriRA3K4MnMjc5K3gR8Lm0Duy5wJPsudmWOCvRKTLwucie8LmhojLxuTHVAzcpLhUyOCobLDI4OSkNFjLkubgi5LnNAzIq3AArNy4yOTQr"
    "wQE5LDgC7LnQFfC5yRk5K3UwMvC5uiAzMCqNBDPsuaEoM+y5uiszMCuzMjMwNClmBjMwK9kGM+25NtUDNyrKBzMwK+00M/C5ukUzMSsxCTPwua"
    "lNM/C5olEzMSsxNzPwubJYMzEriQsz8bk50QU3KnoMMzEqcTkz7LmiazMyK9sNMzIxK2hC8LkmbEIrszszMjQrdUIyKzEQM/G5M8ENNyuBQjIr"
    "9T0z8LmykDMzK4kSM/C5oZgz8bkx1AMqNUAz7LmiozMzK9kUM+y5saoz8bk31AMrd0IzMzkrOAAsMxczNDErKAHwucANLLlEM/C5rRQ0K4EZM+"
    "y52BvsudEfNCz0RvC5wSc1K9kbM/C50C7wuckyNSw4SfC52Tk1KzMeMzU2KyoINTcroQg1K39LMzU5Ko0JNiuBIDPsudhT7LnRVzYruU0z8LnB"
    "XzYr2SIz8LnQZvC5yWo2K/1PM/C52XE3KzElM/C5ynk3MiuhDzcqPVIz7LnJhDcrgyczNzYreBHwudQOK3FUM+y5upYzOCvRKTPwuameM/C5oq"
    "IzOCuhVjPwucgHKh8sMzg2KQ0WM+S5uCLkuc0DOSrcACtPLjM5MSvBATksOALsudAV8LnJGTkroTAz8LnZIDkrjATsucAoTbkAIAAAAAAAAADm"
    "AAAgAAAAAAAAAOYAACAAAAAAAAAA5gAAIAAAAAAAAADmAAAgAAAAAAAAAOYAACAAAAAAAAAA5gAAIAAAAAAAAADmAAAgAAAAAAAAAOYAACAAAA"
    "AAAAAA5gAAIAAAAAAAAAUAAADtAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/"
    "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoOEhYaHiImKi4yNjo+QkZ"
    "KTlJWWl5iZmpucnZ6foKGio6SlpqeoqaqrrK2ur7CxsrO0tba3uLm6u7y9vr/AwcLDxMXGx8jJysvMzc7P0NHS09TV1tfY2drb3N3e3+Dh4uPk"
    "5ebn6Onq6+zt7u/w8fLz9PX29/j5+vv8/f7/IADg/AMRAAAAAAAA")
"""`TEXT` by `lzop -9`, version 1.04."""


def unpacked(data, limit=1 << 20):
    decompressor = LzoDecompressor()
    return decompressor.decompress(data, limit), decompressor.eof


def test_what_lzop_has_packed_is_unpacked():
    assert unpacked(PACKED) == (TEXT, True)
    assert unpacked(PACKED + b"padding") == (TEXT, True)


def test_a_file_that_is_cut_off_has_no_end():
    assert not unpacked(PACKED[:-1])[1]
    assert unpacked(PACKED[:-5]) == (b"", False)


@pytest.mark.skipif(shutil.which("lzop") is None, reason="lzop is not installed")
@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 3000)), max_size=20), st.sampled_from(["-1", "-9"]))
def test_it_agrees_with_lzop(pieces, level):
    data = b"".join(piece * times for piece, times in pieces)
    packed = subprocess.run(["lzop", "-c", level], input=data, capture_output=True, check=True).stdout
    assert unpacked(packed, 1 << 24) == (data, True)


@given(st.binary(min_size=1), st.integers(0, 5000))
def test_nonsense_is_refused_or_stays_small(data, size):
    with suppress(ValueError, IndexError):
        assert len(lzo1x(data, size)) <= size + len(data)


@given(st.data())
def test_damage_is_never_worse_than_a_value_error(data):
    packed = bytearray(PACKED)
    for _ in range(data.draw(st.integers(1, 5))):
        packed[data.draw(st.integers(9, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        unpacked(bytes(packed))
