"""launch.py's command line."""

import argparse
import math
import os
from pathlib import Path

from toolstack.log import FORMATS, LEVELS

_EPILOG = """\
exit status: 0 all domains ended as expected; 1 a domain crashed or `expect` failed; 2 a mistake in the configuration
or on the command line; 3 timeout or deadlock; 4 the host itself failed; 130 stopped by a signal.
"""
_GUEST_OPTIONS = ("type", "cmdline", "memory", "ramdisk")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments.  Ends the program with status 2 and one line, after the usage, where they make no sense."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    given = [arguments.config, arguments.kernel, arguments.restore]
    if given.count(None) != 2:
        more = "" if given.count(None) == 3 else ", one of them alone"
        parser.error(f"expected a configuration file, --kernel or --restore{more}")
    if arguments.restore is not None:
        for option in ("clock", "seed"):
            if getattr(arguments, option) is not None:
                parser.error(f"--{option}: a host that is restored goes on with its own")
    if arguments.kernel is None:
        for option in _GUEST_OPTIONS:
            if getattr(arguments, option) is not None:
                parser.error(f"--{option} goes with --kernel; with a configuration file, write it there")
    for option in ("json", "trace"):
        _check_writable(parser, option, getattr(arguments, option))
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launch.py",
        usage="%(prog)s CONFIG [options]\n"
        "       %(prog)s --kernel ELF [--type T] [--cmdline S] [--memory M] [--ramdisk F] [options]\n"
        "       %(prog)s --restore DIR [options]",
        description="Boot the domains of a configuration, or one guest image, on a simulated Xen host.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("config", nargs="?", metavar="CONFIG", help="a YAML file; configs/ has examples")
    add("--restore", metavar="DIR", help="go on from a checkpoint, or from the newest in a folder of them")
    add("--runtime", choices=("ray", "local"), default="ray", help="one Ray actor a domain (default), or one process")
    add("--clock", choices=("virtual", "host"), help="instead of the configuration's clock.mode")
    add("--seed", type=_seed, metavar="N", help="instead of the configuration's seed")
    add("--timeout", type=_seconds, metavar="SECONDS", help="stop after this much host time, with status 3")
    add("--json", metavar="FILE", help="write what happened; - is standard output, and the rest goes to standard error")
    add("--trace", metavar="FILE", help="write the canonical trace, in msgpack")
    add("--log-level", choices=LEVELS, default="warning", help="of the program's own log, on standard error")
    add("--log-format", choices=FORMATS, default="text")
    add("--quiet", action="store_true", help="no consoles and no hypervisor log, only the table and what went wrong")
    guest = parser.add_argument_group("without a configuration")
    guest.add_argument("--kernel", metavar="ELF", help="a guest image, or a program of guests/")
    guest.add_argument("--type", metavar="T", help="pvh (default), hvm or pv")
    guest.add_argument("--cmdline", metavar="S", help="the kernel's command line")
    guest.add_argument("--memory", metavar="M", help="in MiB, or 64MiB, 1GiB (default 64MiB)")
    guest.add_argument("--ramdisk", metavar="F", help="a file for the kernel's first module")
    return parser


def _seed(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2**64 - 1, got {text!r}")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return value


def _check_writable(parser: argparse.ArgumentParser, option: str, name: str | None) -> None:
    """A file that cannot be written is a mistake to learn of before the run, not after it."""
    if name is None or (option == "json" and name == "-"):
        return
    path = Path(name)
    if path.is_dir() or not name:
        parser.error(f"--{option}: expected a file, got {'the folder ' if name else ''}{name!r}")
    if not path.parent.is_dir():
        parser.error(f"--{option}: no such folder {str(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        parser.error(f"--{option}: {name!r} may not be written")
