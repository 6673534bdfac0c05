"""Initial RAM file systems for Linux guests."""

import gzip
import stat
import subprocess
from pathlib import Path

import pytest

from guests import initramfs as module
from guests.initramfs import Archive, initramfs, main


@pytest.fixture
def busybox(tmp_path: Path) -> Path:
    """Something that lists two applets, as busybox does."""
    program = tmp_path / "busybox"
    program.write_text("#!/bin/sh\nprintf 'cat\\necho\\n'\n")
    program.chmod(0o755)
    return program


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name, read as the kernel reads the "newc" form."""
    found, at = {}, 0
    while True:
        assert archive[at:at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * index:at + 14 + 8 * index], 16) for index in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110:at + 109 + name_size].decode()
        start = at + 110 + name_size + 3 & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = mode, archive[start:start + size]
        at = start + size + 3 & ~3


def test_what_goes_in_comes_out():
    archive = Archive()
    archive.folder("etc")
    archive.file("etc/motd", b"hello", 0o644)
    archive.link("etc/issue", "motd")
    found = entries(archive.finished())
    assert found == {"etc": (stat.S_IFDIR | 0o755, b""), "etc/motd": (stat.S_IFREG | 0o644, b"hello"),
                     "etc/issue": (stat.S_IFLNK | 0o777, b"motd")}


def test_inodes_are_apart_and_files_are_aligned():
    archive = Archive()
    for name in ("a", "bc", "def"):
        archive.file(name, name.encode())
    data = archive.finished()
    assert len(data) % 4 == 0
    inodes = [data[at + 6:at + 14] for at in range(0, len(data), 4) if data[at:at + 6] == b"070701"]
    assert len(inodes) == 4 == len(set(inodes))


def test_devices_have_their_numbers():
    archive = Archive()
    archive.device("console", 5, 1, 0o600)
    data = archive.finished()
    assert data[6 + 8 * 9:6 + 8 * 11] == b"0000000500000001"


def test_it_has_busybox_its_applets_and_init(busybox):
    found = entries(gzip.decompress(initramfs("#!/bin/sh\n", busybox, {"bin/hello": b"program"})))
    assert found["init"] == (stat.S_IFREG | 0o755, b"#!/bin/sh\n")
    assert found["bin/busybox"][1] == busybox.read_bytes()
    assert {name for name, (mode, content) in found.items() if stat.S_ISLNK(mode) and content == b"busybox"} == {
        "bin/cat", "bin/echo", "bin/sh"}
    assert found["bin/hello"][1] == b"program"
    assert stat.S_ISCHR(found["dev/console"][0])


def test_it_is_the_same_every_time(busybox):
    assert initramfs("x", busybox) == initramfs("x", busybox)


def test_the_command_writes_one(busybox, tmp_path, monkeypatch):
    output, added = tmp_path / "out", tmp_path / "added"
    added.write_bytes(b"data")
    monkeypatch.setattr("sys.argv", ["initramfs", str(output), "--busybox", str(busybox), "--add", f"/bin/it={added}"])
    assert main() == 0
    found = entries(gzip.decompress(output.read_bytes()))
    assert (found["bin/it"][1], found["init"][1].decode()) == (b"data", module.SHELL)


def test_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["initramfs", str(tmp_path / "out"), "--busybox", str(tmp_path / "none")])
    assert main() == 1
    assert "none" in capsys.readouterr().err


def test_a_newc_archive_is_what_cpio_reads(tmp_path):
    archive = Archive()
    archive.file("file", b"content")
    done = subprocess.run(["sh", "-c", "command -v cpio >/dev/null || exit 0; cpio -i --quiet"], cwd=tmp_path,
                          input=archive.finished(), check=True)
    assert done.returncode == 0
    if (tmp_path / "file").exists():
        assert (tmp_path / "file").read_bytes() == b"content"
