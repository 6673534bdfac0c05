"""Which file a domain's kernel is: a program of `guests/`, built on demand, or an image that somebody else built."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from domains.kernel_image import HEAD, may_be_kernel
from toolstack.errors import describe, did_you_mean

_PACKAGES = {"/usr/lib/grub-xen/": "grub-xen-host", "/boot/vmlinuz-": "linux-image-amd64"}
"""Debian's, by where their files are."""
_TARGETS = {("pvh", 64): "pvh64", ("hvm", 64): "pvh64", ("pv", 64): "pv64", ("pv", 32): "pv32"}


class Programs(Protocol):
    """The guest programs of this repository; `guests.build` is one."""

    def available(self) -> Sequence[str]:
        """The programs' names."""

    def build(self, program: str, target: str = "pvh64") -> Path:
        """The ELF file of `program`, compiled if need be."""


class Images:
    """Finds kernels, relative to the folder of the configuration."""

    def __init__(self, base: Path, programs: Programs) -> None:
        self._base = base
        self._programs = programs
        self._names: Sequence[str] | None = None

    def is_program(self, kernel: str) -> bool:
        """Whether `kernel` names a program of `guests/` (which wins over a file; `./name` is always a file)."""
        if self._names is None:
            self._names = sorted(self._programs.available())
        return kernel in self._names

    def check_kernel(self, kernel: str) -> None:
        """Raises ValueError("expected ..., got ...") where `kernel` is neither a program nor an image that boots."""
        if self.is_program(kernel):
            return
        path = self._base / kernel
        names = list(self._names or ())
        folders = {name.partition("/")[0] for name in names if "/" in name}
        if not path.exists() and ("/" not in kernel or kernel.partition("/")[0] in folders):
            raise ValueError(f"no such program or file {describe(kernel)}{did_you_mean(kernel, names)}")
        self.check_file(kernel, "an ELF file")
        with path.open("rb") as file:
            if not may_be_kernel(file.read(HEAD)):
                raise ValueError(f"expected an ELF file, a compressed one or a Linux bzImage, got {describe(kernel)}")

    def check_file(self, name: str, expected: str) -> None:
        """Raises ValueError where `name` is not a file that can be read."""
        path = self._base / name
        try:
            if path.is_dir():
                raise ValueError(f"expected {expected}, got the folder {describe(name)}")
            if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
                raise ValueError(f"expected {expected}, got {describe(name)}, which is no regular file")
            with path.open("rb"):
                pass
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            package = next((package for start, package in _PACKAGES.items() if str(path).startswith(start)), None)
            hint = f" (it is in Debian's package {package})" if package and isinstance(error, FileNotFoundError) else ""
            raise ValueError(f"expected {expected}, got {describe(name)}: {reason}{hint}") from None

    def path(self, name: str) -> Path:
        """The file `name`, absolute."""
        return (self._base / name).resolve()

    def kernel(self, kernel: str, domain_type: str, bits: int = 64) -> Path:
        """The ELF file of a checked kernel; builds a program, and raises what that raises."""
        if not self.is_program(kernel):
            return self.path(kernel)
        return self._programs.build(kernel, _TARGETS[domain_type, bits])


def guest_programs() -> Programs:
    """The repository's own programs."""
    import guests.build  # only here: most of the toolstack needs no compiler

    return guests.build
