import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolstack.memory_image import CHUNK, Facts, ImageError, read_image, write_image
from toolstack.session import memory_file

PAGE = 4096
SIZE = 3 * CHUNK + 5 * PAGE


@pytest.fixture(scope="module")
def mapped():
    """Makes (descriptor, memory) of SIZE bytes."""
    import mmap

    made = []

    def make():
        context = memory_file("test", SIZE)
        descriptor = context.__enter__()
        memory = mmap.mmap(descriptor, SIZE)
        made.append((context, memory))
        return descriptor, memory

    yield make
    for context, memory in made:
        memory.close()
        context.__exit__(None, None, None)


def image_of(descriptor, memory):
    file = io.BytesIO()
    view = memoryview(memory)
    facts = write_image(file, descriptor, view)
    view.release()
    return file, facts


def again(file, facts):
    memory = bytearray(SIZE)
    read_image(file, facts, memoryview(memory))
    return memory


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.integers(0, SIZE // PAGE - 1), st.binary(min_size=1, max_size=PAGE), max_size=40))
def test_memory_comes_back_as_it_was(mapped, pages):
    descriptor, memory = mapped()
    for page, data in pages.items():
        memory[page * PAGE:page * PAGE + len(data)] = data
    file, facts = image_of(descriptor, memory)
    assert again(file, facts) == memory[:]
    assert facts.content == PAGE * sum(1 for data in pages.values() if any(data))


def test_what_was_never_touched_is_neither_kept_nor_made(mapped):
    descriptor, memory = mapped()
    memory[2 * CHUNK] = 1
    file, facts = image_of(descriptor, memory)
    assert facts.content == PAGE
    assert facts.size == len(file.getvalue()) < 200
    assert os.fstat(descriptor).st_blocks * 512 == PAGE


def test_a_file_that_was_changed_anywhere_or_cut_off_is_refused(mapped):
    descriptor, memory = mapped()
    memory[5] = memory[CHUNK + 7] = 9
    file, facts = image_of(descriptor, memory)
    data = file.getvalue()
    for at in range(0, len(data), 7):
        broken = bytearray(data)
        broken[at] ^= 0x20
        with pytest.raises(ImageError, match="damaged or cut off"):
            again(io.BytesIO(bytes(broken)), facts)
        with pytest.raises(ImageError, match="damaged or cut off"):
            again(io.BytesIO(data[:at]), facts)


def test_an_image_of_a_larger_memory_is_refused(mapped):
    descriptor, memory = mapped()
    memory[SIZE - 1] = 1
    file, facts = image_of(descriptor, memory)
    with pytest.raises(ImageError, match="another memory"):
        read_image(file, facts, memoryview(bytearray(3 * CHUNK)))


def test_an_image_of_nothing_is_empty(mapped):
    file, facts = image_of(*mapped())
    assert facts == Facts(0, 0, facts.sha256)
    assert not any(again(file, facts))
