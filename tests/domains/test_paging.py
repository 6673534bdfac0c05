"""The walker finds what the processor itself finds, whatever the page tables say."""

from bare_engine import FIRST, LEGACY, LONG, PAE, PAGE, BareEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from domains import envlayout as env
from domains.paging import PF_RESERVED, PageFault, Walker
from domains.vmcb import Exit

ROOT, CODE_TABLES, CODE = FIRST, (FIRST + 1, FIRST + 2, FIRST + 3), FIRST + 4
TABLES = tuple(range(FIRST + 5, FIRST + 11))
DATA = tuple(range(FIRST + 11, FIRST + 16))
ABSENT = FIRST + 100
PAGES = 16
READ, WRITE = b"\x8b\x03\xf4", b"\x89\x03\xf4"  # mov eax, [rbx]; mov [rbx], eax; hlt
P, W, U, PS, G, NX = 1, 2, 4, 0x80, 0x100, 1 << 63
IN_USE = 0x60
SLOTS = (0, 1, 3)
CODE_AT = {LONG: 0xFFFFFFFFFFFFF000, PAE: 0xFFFFF000, LEGACY: 0xFFFFF000}

FLAGS = st.builds(lambda usual, bits: usual & ~bits, st.just(P | W | U | IN_USE),
                  st.sampled_from([0, 0, 0, 0, P, W, U, 0x20, 0x40, IN_USE, W | U, P | W]))
ENTRIES = st.builds(
    lambda frame, flags, more: frame << 12 | flags | more,
    st.sampled_from([*TABLES, *TABLES, *DATA, ROOT]), FLAGS, st.sampled_from(
        [0, 0, 0, 0, 0, PS, PS, G, 0xE00, 0x18, NX, 1 << 13 | PS, 1 << 20 | PS, 1 << 21 | PS, 1 << 29 | PS, 1 << 40,
         1 << 51, 1 << 52, 1 << 62]))
TREES = st.dictionaries(st.tuples(st.sampled_from((ROOT, *TABLES)), st.sampled_from(SLOTS)), ENTRIES, max_size=24)
ACCESSES = st.lists(st.tuples(st.lists(st.sampled_from(SLOTS), min_size=4, max_size=4),
                              st.integers(0, 1023).map(lambda word: word * 4)), min_size=1, max_size=6)

MACHINE = BareEngine(PAGES)


def lay(kind, tree, entry_size):
    """Fresh memory: the random tables, pages of data that say which they are, and the code at the very top."""
    memory, words, halves = MACHINE.memory, MACHINE.arena.u64, MACHINE.arena.u32
    memory[FIRST * PAGE:(FIRST + PAGES) * PAGE] = bytes(PAGES * PAGE)
    for frame in DATA:
        memory[frame * PAGE:(frame + 1) * PAGE] = frame.to_bytes(4, "little") * 1024
    column, last = (words, 511) if entry_size == 8 else (halves, 1023)
    shift = 3 if entry_size == 8 else 2
    for (frame, slot), entry in tree.items():
        column[(frame * PAGE >> shift) + slot] = entry & (0xFFFFFFFFFFFFFFFF if entry_size == 8 else 0xFFFFFFFF)
    chain = {LONG: (ROOT, *CODE_TABLES), PAE: (ROOT, *CODE_TABLES[:2]), LEGACY: (ROOT, CODE_TABLES[0])}[kind]
    for level, (frame, below) in enumerate(zip(chain, (*chain[1:], CODE), strict=True)):
        slot = 3 if kind == PAE and level == 0 else last
        column[(frame * PAGE >> shift) + slot] = below << 12 | (P if kind == PAE and level == 0 else P | W | U | IN_USE)


def linear(kind, indices, offset):
    """A linear address from indices into the tables, the root's first."""
    if kind == LONG:
        address = 0
        for index in indices:
            address = address << 9 | index
        return address << 12 | offset
    if kind == PAE:
        return indices[1] % 3 << 30 | indices[2] << 21 | indices[3] << 12 | offset
    return indices[2] << 22 | indices[3] << 12 | offset


def by_the_engine(address, write, value):
    """(exit, what was read or the fault's address and code) of one access by a guest's own instruction."""
    q = MACHINE.q
    q[env.RBX], q[env.RAX] = address, value
    code = WRITE if write else READ
    MACHINE.memory[CODE * PAGE:CODE * PAGE + 3] = code
    MACHINE.engine.forget_code()
    [exit] = MACHINE.run(CODE_AT[MACHINE.kind])
    if exit == Exit.EXCEPTION + 14:
        return "fault", MACHINE.engine.fault_address, MACHINE.d[env.ERROR_CODE]
    if exit == Exit.NPF:
        return "nothing there", MACHINE.engine.fault_address
    # HLT is not for CPL 3, which gets a #GP.
    assert exit in (Exit.HLT, Exit.EXCEPTION + 13)
    return "value", q[env.RAX] & 0xFFFFFFFF


def by_the_walker(walker, address, write, user, value):
    halves = MACHINE.arena.u32
    try:
        machine = walker.machine(address, write=write, user=user)
    except PageFault as fault:
        return "fault", fault.address, fault.code
    if machine is None:
        return "nothing there", walker.physical(address, write=write, user=user)
    if write:
        halves[machine >> 2] = value
        return "value", value
    return "value", halves[machine >> 2]


def frame(gfn, write):
    return gfn << 12 if FIRST <= gfn < FIRST + PAGES else None


def compare(kind, tree, accesses, write, user, write_protect):
    size = 4 if kind == LEGACY else 8
    MACHINE.kind = kind
    results, memories = [], []
    for who in ("engine", "walker"):
        lay(kind, tree, size)
        MACHINE.mode(kind, ROOT << 12, user=user, write_protect=write_protect)
        found = []
        known = {}
        walker = Walker(MACHINE.engine, MACHINE.arena, frame, known, known)
        for number, (indices, offset) in enumerate(accesses):
            address = linear(kind, indices, offset)
            MACHINE.engine.flush_tlb()
            value = 0xABCD0000 + number
            if who == "engine":
                found.append(by_the_engine(address, write, value))
            else:
                found.append(by_the_walker(walker, address, write, user, value))
        MACHINE.memory[CODE * PAGE:(CODE + 1) * PAGE] = bytes(PAGE)
        results.append(found)
        memories.append(bytes(MACHINE.memory[FIRST * PAGE:(FIRST + PAGES) * PAGE]))
    for engine, walker in zip(*results, strict=True):
        # A table where no memory is: the engine reports the table's page, the walker the address.
        assert engine == walker or (engine[0], walker[0]) == ("nothing there", "fault")
    if not any(walker[0] == "fault" and walker[2] & PF_RESERVED for walker in results[1]):
        assert memories[0] == memories[1]  # accessed and dirty bits, too


BOOLEANS = st.booleans()


@settings(max_examples=150, deadline=None)
@given(TREES, ACCESSES, BOOLEANS, BOOLEANS, BOOLEANS)
def test_in_long_mode(tree, accesses, write, user, write_protect):
    compare(LONG, tree, accesses, write, user, write_protect)


@settings(max_examples=100, deadline=None)
@given(TREES, ACCESSES, BOOLEANS, BOOLEANS, BOOLEANS)
def test_with_pae(tree, accesses, write, user, write_protect):
    compare(PAE, tree, accesses, write, user, write_protect)


@settings(max_examples=100, deadline=None)
@given(TREES, ACCESSES, BOOLEANS, BOOLEANS, BOOLEANS)
def test_in_32_bit_paging(tree, accesses, write, user, write_protect):
    compare(LEGACY, tree, accesses, write, user, write_protect)
