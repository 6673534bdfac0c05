"""Random hypercalls of a PV kernel do to the host what they do without the native front.

`pv_guest.run` runs each guest both ways, and compares all of the host's memory.
"""

from random import Random
from struct import pack

import pytest
from pv_guest import GUEST, PAGES, run

VERSION, STACK_SWITCH, UPDATE_VA_MAPPING, MMU_UPDATE, MMUEXT_OP = 17, 3, 14, 1, 26
NEW_BASEPTR, NEW_USER_BASEPTR, PIN_L1, PIN_L4, UNPIN, FLUSH = 5, 15, 0, 3, 4, 6
SELF, POWEROFF = 0x7FF0, 0
PRESENT, WRITABLE, USER, NO_CACHE, ACCESSED, DIRTY, NX = 1, 2, 4, 16, 0x20, 0x40, 1 << 63
WINDOW, WIDTH = 0x380, 8
"""Pages whose entries the guest changes, and which it maps."""
REQUESTS, SECOND_L4 = 0x310, 0x3F0
CALLS = 47

GUEST_CODE = """
_start:
    lea parameters(%rip), %rbx
    lea out(%rip), %rbp
    mov (%rbx), %r12
    add $8, %rbx
next:
    mov (%rbx), %rax
    mov 8(%rbx), %rdi
    mov 16(%rbx), %rsi
    mov 24(%rbx), %rdx
    mov 32(%rbx), %r10
    syscall
    mov %rax, (%rbp)
    mov %cr0, %rax
    rdtsc
    add $8, %rbp
    add $40, %rbx
    dec %r12
    jnz next
    end
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


class Calls:
    """Makes hypercalls at random, of which many are plain and some are not."""

    def __init__(self, seed, built):
        self.random, self.built, self.first = Random(seed), built, built.first
        self.arrays, self.odd = b"", False
        self.tables = {table.level: self.first + table.pfn for table in built.layout.tables()}
        self.l4s = [self.tables[4], self.first + SECOND_L4]
        l1 = next(table for table in built.layout.tables() if table.level == 1 and table.base <= WINDOW << 12
                  < table.base + (1 << 21))
        self.l1 = self.first + l1.pfn

    def sometimes(self, usual, *others):
        return self.random.choice(others) if self.odd and self.random.random() < 0.3 else usual

    def call(self):
        self.odd = self.random.random() < 0.3
        return self.random.choice((self.update_va_mapping, self.mmu_update, self.mmuext_op, self.small))()

    def array(self, data):
        address = (REQUESTS << 12) + len(self.arrays)
        self.arrays += data
        return address

    def frame(self):
        usual = self.first + WINDOW + self.random.randrange(WIDTH)
        return self.sometimes(usual, *self.tables.values(), self.first, 5, self.first + PAGES, (1 << 40) - 1)

    def entry(self):
        if self.random.random() < 0.2:
            return 0
        flags = PRESENT | self.random.choice((0, WRITABLE)) | self.random.choice((0, USER, USER | ACCESSED | DIRTY))
        return self.frame() << 12 | flags | self.sometimes(NX, 0, NO_CACHE)

    def page(self):
        return WINDOW + self.random.randrange(WIDTH)

    def update_va_mapping(self):
        address = self.sometimes(self.page() << 12, 0xFFFF800000000000, 1 << 46)
        return UPDATE_VA_MAPPING, address, self.entry(), self.sometimes(self.random.randrange(3), 3, 5, 6, 8, 1 << 60)

    def mmu_update(self):
        count = self.random.choice((1, 1, 2, 5, 70))
        requests = b""
        for _ in range(count):
            pointer = self.l1 << 12 | (self.page() & 511) << 3
            pointer = self.sometimes(pointer, self.frame() << 12 | 0xFF8)
            command = self.sometimes(self.random.choice((0, 2)), 1, 3)
            requests += pack("<QQ", pointer | command, self.entry())
        return (MMU_UPDATE, self.sometimes(self.array(requests), 0, 0xFFFF800000000000), self.sometimes(count, 0),
                self.sometimes(0, (REQUESTS + 4) << 12, 1 << 60), self.sometimes(SELF, 0, GUEST))

    def mmuext_op(self):
        operations = [(NEW_BASEPTR, self.random.choice(self.l4s)), (NEW_USER_BASEPTR, self.random.choice(self.l4s))]
        operations = self.sometimes(
            operations[:self.random.choice((1, 2))], operations[::-1], operations * 2, *([odd] for odd in (
                (PIN_L1, self.frame()), (UNPIN, self.frame()), (NEW_BASEPTR, self.tables[2]), (NEW_USER_BASEPTR, 0),
                (FLUSH, 0), (NEW_USER_BASEPTR, self.frame()), (UNPIN, self.l4s[1]), (PIN_L4, self.l4s[1]))))
        array = self.array(b"".join(pack("<QQQ", command, mfn, 0) for command, mfn in operations))
        return (MMUEXT_OP, array, len(operations), self.sometimes(0, (REQUESTS + 4) << 12),
                self.sometimes(SELF, 0, GUEST))

    def small(self):
        return self.random.choice((
            (VERSION, 0), (VERSION, 1, 0), (VERSION, 0x700000000), (STACK_SWITCH, 0xE02B, 0x107000)))

    def all(self):
        second = (UPDATE_VA_MAPPING, SECOND_L4 << 12, (self.first + SECOND_L4) << 12 | PRESENT | NX, 2)
        pin = (MMUEXT_OP, self.array(pack("<QQQ", PIN_L4, self.first + SECOND_L4, 0)), 1, 0, SELF)
        calls = [second, pin, *(self.call() for _ in range(CALLS - 2))]
        return [CALLS, *(word for call in calls for word in (*call, 0, 0, 0, 0)[:5])]


@pytest.mark.parametrize("seed", range(12))
def test_random_changes_of_page_tables_leave_the_same_host_behind(folder, seed):
    made = []

    def parameters(built):
        made.append(Calls(seed, built))
        return made[-1].all()

    def before(hv, built):
        base = built.first << 12
        hv.arena.write(base + (REQUESTS << 12), made[-1].arrays)
        hv.arena.write(base + (SECOND_L4 << 12), hv.arena.read(made[-1].tables[4] << 12, 4096))

    guest = run(GUEST_CODE, folder, parameters=parameters, before=before)
    results = guest.out[:CALLS]
    assert guest.reason == POWEROFF, guest.detail
    assert results[:2] == (0, 0)
    assert results.count(0) >= CALLS // 5
    assert sum(result >> 63 for result in results) >= 1
