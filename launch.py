"""Boots the domains of a configuration on a simulated Xen host: `python launch.py configs/two_guests.yaml`."""

import sys

from toolstack.cli import main

if __name__ == "__main__":
    sys.exit(main())
