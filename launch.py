"""Boots the domains of a configuration on a simulated Xen host: `python launch.py configs/two_guests.yaml`."""

import sys


def run() -> int:
    """From the imports, which take a moment in which somebody may change their mind, to the exit status."""
    try:
        from toolstack.cli import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
