"""The pin word of an active grant entry: how often it is mapped, by kind (Xen's GNTPIN_*)."""

from abi.grant_table import GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly

HOST_WRITE = 1
HOST_READ = 1 << 8
DEVICE_WRITE = 1 << 16
DEVICE_READ = 1 << 24
WRITERS = 0xFF * (HOST_WRITE | DEVICE_WRITE)
FULL = 7
"""Shift from an increment to the bit that says that its counter takes no more: 128 of a kind are the most."""
KIND_MASK = GNTMAP_device_map | GNTMAP_host_map | GNTMAP_readonly


def _increment(flags: int) -> int:
    host, device = (HOST_READ, DEVICE_READ) if flags & GNTMAP_readonly else (HOST_WRITE, DEVICE_WRITE)
    return host * bool(flags & GNTMAP_host_map) + device * bool(flags & GNTMAP_device_map)


INCREMENT = tuple(_increment(flags) for flags in range(KIND_MASK + 1))
"""What a mapping adds to the pin word, by `flags & KIND_MASK`; 0 where it maps nothing."""
