"""Guest programs are built once, kept by what went into them, and carry the notes that a builder looks for."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from abi.elfnote import Elfnote
from domains.pv_image import pv_image
from guests import build as guests_build
from guests.build import GuestBuildError, available, build, targets, targets_of

elffile = pytest.importorskip("elftools.elf.elffile")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A folder of guests with the real library and one program, whose source the test may rewrite."""
    folder = tmp_path / "guests"
    folder.mkdir()
    (folder / "lib").symlink_to(guests_build.LIBRARY)
    source = folder / "hello.c"
    source.write_text('#include "guest.h"\nint main(void) { printf("hello\\n"); return 0; }\n')
    monkeypatch.setattr(guests_build, "GUESTS", folder)
    monkeypatch.setattr(guests_build, "LIBRARY", folder / "lib")
    return source


@pytest.fixture
def cache(tmp_path):
    """A cache without images; the compiler's own, of single objects, is the common one."""
    folder = tmp_path / "cache"
    folder.mkdir()
    compilers = guests_build.default_cache() / "zig"
    compilers.mkdir(parents=True, exist_ok=True)
    (folder / "zig").symlink_to(compilers)
    return folder


def test_the_programs_of_the_repository_are_found():
    assert {"first_steps", "writer", "reader", "pingpong", "abuse/selftest", "bench/bench"} <= set(available())
    assert not any(name.startswith("lib") for name in available())


@pytest.mark.parametrize("name", available())
def test_every_program_builds(name):
    target = targets_of(name)[-1]
    with build(name, target).open("rb") as file:
        assert elffile.ELFFile(file)["e_machine"] == ("EM_386" if target == "pv32" else "EM_X86_64")


def test_a_program_says_what_it_is_written_for():
    assert targets_of("first_steps") == targets()
    assert targets_of("ring_demo") == ["pv32"]
    with pytest.raises(GuestBuildError, match=r"^guest ring_demo: it is written for pv32, not for pvh64$"):
        build("ring_demo")


@pytest.mark.parametrize(("target", "machine"), [("pv64", "EM_X86_64"), ("pv32", "EM_386")])
@pytest.mark.parametrize("name", ["first_steps", "writer", "reader", "pingpong"])
def test_the_same_sources_make_paravirtual_guests(name, target, machine):
    image = build(name, target)
    with image.open("rb") as file:
        assert elffile.ELFFile(file)["e_machine"] == machine
    kernel = pv_image(image.read_bytes())
    assert (kernel.virt_base, kernel.start, kernel.entry) == (0, 0x100000, 0x100000)
    assert kernel.start <= kernel.hypercall_page < kernel.end


def test_an_image_tells_its_32_bit_entry_in_a_note():
    with build("first_steps").open("rb") as file:
        elf = elffile.ELFFile(file)
        notes = [note for segment in elf.iter_segments("PT_NOTE") for note in segment.iter_notes()]
        entries = [note for note in notes if note["n_type"] == Elfnote.PHYS32_ENTRY]
        assert [note["n_name"] for note in entries] == ["Xen"]
        entry = int.from_bytes(entries[0]["n_descdata"], "little")
        assert entry == elf["e_entry"]
        code = next(segment for segment in elf.iter_segments("PT_LOAD") if segment["p_flags"] & 1)
        assert code["p_paddr"] <= entry < code["p_paddr"] + code["p_filesz"]


def test_no_segment_is_both_writable_and_executable():
    with build("first_steps").open("rb") as file:
        flags = [segment["p_flags"] for segment in elffile.ELFFile(file).iter_segments("PT_LOAD")]
    assert all(flag & 3 != 3 for flag in flags)


def test_an_image_does_not_depend_on_where_the_repository_lies(program, cache):
    assert str(program.parent).encode() not in build("hello", cache=cache).read_bytes()


def test_the_second_time_nothing_is_compiled(program, cache, monkeypatch):
    image = build("hello", cache=cache)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the compiler was called"))
    assert build("hello", cache=cache) == image


def test_looking_an_image_up_does_not_import_the_compiler():
    code = "import sys; from guests.build import build; build('first_steps'); print('ziglang' in sys.modules)"
    build("first_steps")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])
    assert done.stdout == "False\n"


def test_another_source_is_another_image(program, cache):
    before = build("hello", cache=cache)
    program.write_text(program.read_text().replace("hello\\n", "good day\\n"))
    after = build("hello", cache=cache)
    assert before != after
    assert b"good day" in after.read_bytes()


def test_processes_may_build_the_same_at_once(program, cache):
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda _: build("hello", cache=cache), range(4)))
    assert len(set(images)) == 1
    assert [path.name for path in images[0].parent.iterdir()] == [images[0].name]


def test_a_mistake_in_a_program_is_told_in_the_compilers_words(program, cache):
    program.write_text('#include "guest.h"\nint main(void) { return nothing; }\n')
    with pytest.raises(GuestBuildError) as caught:
        build("hello", cache=cache)
    first = str(caught.value).splitlines()[0]
    assert first.startswith("guest hello for pvh64: hello.c:2:")
    assert "undeclared identifier 'nothing'" in first


def test_a_warning_is_a_mistake(program, cache):
    program.write_text('#include "guest.h"\nint main(void) { int unused; return 0; }\n')
    with pytest.raises(GuestBuildError, match="unused variable"):
        build("hello", cache=cache)


def test_a_program_that_is_missing_something_is_told_so(program, cache):
    program.write_text('#include "guest.h"\nint missing(void);\nint main(void) { return missing(); }\n')
    with pytest.raises(GuestBuildError, match="missing"):
        build("hello", cache=cache)


def test_unknown_names_are_refused():
    with pytest.raises(GuestBuildError, match=r"no guest program 'firststeps'; there are .*first_steps"):
        build("firststeps")
    with pytest.raises(GuestBuildError, match=r"unknown target 'vax'; there are .*pvh64"):
        build("first_steps", "vax")
    assert targets() == ["pv32", "pv64", "pvh64"]


def test_a_machine_without_the_compiler_is_told_what_to_install(program, cache, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(GuestBuildError, match="pip install ziglang"):
        build("hello", cache=cache)


def test_a_cache_that_cannot_be_written_is_named(program, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GuestBuildError, match=r"cannot write to the cache .*file"):
        build("hello", cache=tmp_path / "file")


def test_the_cache_can_be_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("DOMUS_CACHE", str(tmp_path))
    assert guests_build.default_cache() == tmp_path
