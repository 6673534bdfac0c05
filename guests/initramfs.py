"""Writes initial RAM file systems for Linux guests: cpio archives of the "newc" form, the same bytes every time.

    python -m guests.initramfs FILE [--init SCRIPT] [--add PATH=FILE]...

makes one around busybox (Debian's package busybox-static), whose applets are links to it.  Without SCRIPT /init is a
shell on the console.
"""

import argparse
import gzip
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
"""Where Debian's busybox-static puts it."""

SHELL = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
setsid -c sh </dev/console >/dev/console 2>&1
poweroff -f
"""
"""An /init that gives a shell, and powers off after it."""

_DEVICES = {"console": (5, 1, 0o600), "null": (1, 3, 0o666), "zero": (1, 5, 0o666), "tty": (5, 0, 0o666),
            "hvc0": (229, 0, 0o600), "kmsg": (1, 11, 0o644)}
"""Under /dev: major and minor number, permissions."""
_FOLDERS = ("bin", "dev", "proc", "sys", "tmp")
_TRAILER = "TRAILER!!!"


class Archive:
    """A cpio archive in the making.  Names have no leading slash; the folders of a file go before it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def folder(self, name: str) -> None:
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, mode: int = 0o755) -> None:
        self._add(name, stat.S_IFREG | mode, content)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int, mode: int) -> None:
        """A character device."""
        self._add(name, stat.S_IFCHR | mode, device=(major, minor))

    def finished(self) -> bytes:
        """The archive, with its end."""
        self._inode = -1
        self._add(_TRAILER, 0)
        return bytes(self._data)

    def _add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        links, encoded = 2 if stat.S_ISDIR(mode) else 1, name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(encoded), 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._pad()
        self._data += content
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)


def initramfs(init: str, busybox: Path = BUSYBOX, files: Mapping[str, bytes] | None = None,
              applets: Iterable[str] | None = None) -> bytes:
    """A packed archive with busybox in /bin, its `applets` (by default all), `init` as /init, and more `files`.

    `files` are by name in folders that exist (`bin/hello`), executable.  Raises OSError where busybox is not there.
    """
    archive = Archive()
    for folder in _FOLDERS:
        archive.folder(folder)
    for name, (major, minor, mode) in _DEVICES.items():
        archive.device(f"dev/{name}", major, minor, mode)
    archive.file("bin/busybox", busybox.read_bytes())
    for applet in sorted({*(_applets(busybox) if applets is None else applets), "sh"} - {"busybox"}):
        archive.link(f"bin/{applet}", "busybox")
    for name, content in sorted((files or {}).items()):
        archive.file(name, content)
    archive.file("init", init.encode())
    return gzip.compress(archive.finished(), 6, mtime=0)


def _applets(busybox: Path) -> list[str]:
    return subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m guests.initramfs", description="Make an initial RAM file system.")
    parser.add_argument("output", type=Path, metavar="FILE")
    parser.add_argument("--init", type=Path, metavar="SCRIPT", help="what runs as /init; by default a shell")
    parser.add_argument("--add", action="append", default=[], metavar="PATH=FILE", help="one more executable")
    parser.add_argument("--busybox", type=Path, default=BUSYBOX)
    chosen = parser.parse_args()
    try:
        added = (add.partition("=") for add in chosen.add)
        files = {path.lstrip("/"): Path(file).read_bytes() for path, _, file in added}
        script = chosen.init.read_text() if chosen.init else SHELL
        chosen.output.write_bytes(initramfs(script, chosen.busybox, files))
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
