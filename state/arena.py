"""Machine memory: one range of bytes that every domain's engine maps at machine address 0."""

from abi.types import PAGE_SHIFT, PAGE_SIZE, Mfn


class Arena:
    """`size` bytes of machine memory over a writable buffer; a machine address is an offset into it.

    `u8`, `u16`, `u32` and `u64` are views of the whole arena; index them with a machine address divided by the width.
    """

    def __init__(self, buffer: memoryview) -> None:
        if len(buffer) % PAGE_SIZE:
            raise ValueError(f"the arena has {len(buffer)} bytes, which is not whole pages")
        self.u8 = buffer.cast("B")
        self.u16 = buffer.cast("H")
        self.u32 = buffer.cast("I")
        self.u64 = buffer.cast("Q")
        self.size = len(buffer)

    @property
    def frames(self) -> int:
        """The number of 4 KiB frames."""
        return self.size >> PAGE_SHIFT

    def page(self, mfn: Mfn) -> memoryview:
        """The 4,096 bytes of one frame, writable."""
        start = mfn << PAGE_SHIFT
        return self.u8[start:start + PAGE_SIZE]

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes from machine address `address`."""
        return bytes(self.u8[address:address + size])

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Store `data` at machine address `address`."""
        self.u8[address:address + len(data)] = data

    def zero(self, mfn: Mfn) -> None:
        """Clear one frame."""
        self.page(mfn)[:] = bytes(PAGE_SIZE)


def private_arena(frames: int) -> Arena:
    """An arena over memory of this process alone, for tests."""
    return Arena(memoryview(bytearray(frames * PAGE_SIZE)))
