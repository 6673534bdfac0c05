"""Domains that grant, map, copy, revoke, pass on, transfer, change versions and die at random, against a model of it.

The model knows a grant as a permission and a mapping as a claim on a frame.  It predicts every answer; the invariants
then compare all counters, the granters' view, the address spaces and the frames with what the model has recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from grant_host import MAX_FRAMES, GrantHost
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from abi.errno import Errno, XenError
from abi.grant_table import (
    GNTCOPY_dest_gref,
    GNTCOPY_source_gref,
    GNTMAP_device_map,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GrantStatus,
    GTF_accept_transfer,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_transfer_committed,
    GTF_transfer_completed,
    GTF_transitive,
    GTF_type_mask,
    GTF_writing,
)
from abi.types import PAGE_SIZE, Domid, Gfn, Mfn
from abi.xen import DOMID_SELF
from grants.errors import GrantError
from grants.grant_table import GrantTables
from grants.interfaces import P2mType

DOMAINS, PAGES, SPOTS = 3, 2, 3
REFS = (0, 9)
"""One that a change of version keeps, and one that it loses."""
BEYOND = 512
WHOLE = 0, PAGE_SIZE
FIRST_SPOT = 0x100
LENT = (P2mType.GRANT_MAP_RW, P2mType.GRANT_MAP_RO)
OKAY = GrantStatus.okay

domids = st.integers(0, DOMAINS - 1)
refs = st.sampled_from(REFS)
parts = st.sampled_from([WHOLE, (0, 9), (8, 1), (0, 8), (9, 100), (0, 0)])
spots = st.integers(FIRST_SPOT, FIRST_SPOT + SPOTS - 1)
gfns = st.one_of(st.integers(0, PAGES - 1), st.integers(0, PAGES - 1), st.integers(PAGES, PAGES), spots)
usually = st.sampled_from([True, True, True, False])
seldom = st.sampled_from([False, False, False, False, False, True])


@dataclass
class Mapping:
    granter: int
    ref: int
    mfn: int
    flags: int
    """What of it is left."""
    spot: int

    @property
    def claims(self) -> int:
        """References that it holds."""
        return bool(self.flags & GNTMAP_host_map) + bool(self.flags & GNTMAP_device_map)

    @property
    def writes(self) -> bool:
        return not self.flags & GNTMAP_readonly


@dataclass
class Entry:
    """What a granter wrote."""

    flags: int = 0
    to: int = 0
    gfn: int = 0
    tampered: bool = False
    """Rewritten while mapped: what Xen shows in it may be lost."""
    part: tuple[int, int] = WHOLE
    """First byte and length, or of a transitive entry the domain and the reference that it passes on."""


def outcome(operation: Callable[..., Any], *arguments: int) -> tuple[GrantStatus, Any]:
    """What became of an operation, and what it returned."""
    try:
        return OKAY, operation(*arguments)
    except GrantError as error:
        return error.status, None


class Grants(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.host = GrantHost(DOMAINS, PAGES, 256)
        self.processes = [self.host.grants, self.host.attach()]
        self.turn = 0
        self.entries: dict[tuple[int, int], Entry] = {}
        self.mappings: dict[tuple[int, int], Mapping] = {}
        self.owned: dict[int, int] = {}
        """Frames that are allocated, and to whom."""
        self.alive = set(range(DOMAINS))

    @initialize(versions=st.tuples(*(st.sampled_from([1, 2, 2]) for _ in range(DOMAINS))))
    def record_memory(self, versions: tuple[int, ...]) -> None:
        for domid, version in enumerate(versions):
            self.grants.set_version(Domid(domid), version)
            self.record_domain(domid)

    def record_domain(self, domid: int) -> None:
        for mfn, _ in self.host.memory.p2m[Domid(domid)].values():
            self.owned[mfn] = domid
        for ref in REFS:
            self.entries[domid, ref] = Entry()

    def version(self, domid: int) -> int:
        return self.host.domains.version[domid]

    @property
    def grants(self) -> GrantTables:
        """Another process every time."""
        self.turn ^= 1
        return self.processes[self.turn]

    # -- the model

    def users(self, granter: int, ref: int) -> list[tuple[int, Mapping]]:
        return [(domid, mapping) for (domid, _), mapping in self.mappings.items()
                if (mapping.granter, mapping.ref) == (granter, ref)]

    def page(self, domid: int, gfn: int) -> tuple[int, P2mType] | None:
        return self.host.memory.p2m[Domid(domid)].get(Gfn(gfn))

    def permission(self, grantee: int, granter: int, ref: int, readonly: bool, copying: bool) -> GrantStatus:
        """What becomes of a wish to use a grant; its frame aside where nobody uses it yet."""
        if granter not in self.alive:
            return GrantStatus.bad_domain
        entry, users = self.entries[granter, ref], self.users(granter, ref)
        if users:
            if users[0][0] != grantee:
                return GrantStatus.general_error
            if not readonly and not any(mapping.writes for _, mapping in users) and entry.flags & GTF_readonly:
                return GrantStatus.general_error
            return OKAY
        kind = entry.flags & (GTF_type_mask if copying else GTF_type_mask | GTF_sub_page)
        if kind != GTF_permit_access or entry.to != grantee or (entry.flags & GTF_readonly and not readonly):
            return GrantStatus.general_error
        found = self.page(granter, entry.gfn)
        if found is None or (found[1] == P2mType.GRANT_MAP_RO and not readonly):
            return GrantStatus.bad_page
        if self.host.memory.owner(Mfn(found[0])) != granter:
            return GrantStatus.bad_page if copying else GrantStatus.general_error
        return OKAY

    def granted_frame(self, granter: int, ref: int) -> int:
        users = self.users(granter, ref)
        if users:
            return users[0][1].mfn
        found = self.page(granter, self.entries[granter, ref].gfn)
        assert found
        return found[0]

    def reach(self, grantee: int, granter: int, ref: int, readonly: bool,
              through: bool = True) -> tuple[GrantStatus, int, tuple[int, int]]:
        """What becomes of a wish to copy, and if it is granted, the frame and the part of it."""
        refused = GrantStatus.general_error, 0, WHOLE
        if granter not in self.alive:
            return GrantStatus.bad_domain, 0, WHOLE
        if ref == BEYOND:
            return GrantStatus.bad_gntref, 0, WHOLE
        entry, users = self.entries[granter, ref], self.users(granter, ref)
        if entry.flags & GTF_type_mask != GTF_transitive:
            status = self.permission(grantee, granter, ref, readonly, True)
            part = entry.part if not users and self.version(granter) == 2 and entry.flags & GTF_sub_page else WHOLE
            return status, self.granted_frame(granter, ref) if status == OKAY else 0, part
        if (users[0][0] if users else entry.to) != grantee:
            return refused
        if entry.flags & GTF_readonly and not readonly and not any(mapping.writes for _, mapping in users):
            return refused
        other, passed_on = entry.part
        if not through or other == granter or other not in self.alive:
            return refused
        found = self.reach(granter, other, passed_on, readonly, False)
        return (GrantStatus.eagain, 0, WHOLE) if users and found[0] == OKAY else found

    # -- what guests do

    @rule(granter=domids, ref=refs, to=domids, gfn=gfns, readonly=st.booleans())
    def grant(self, granter: int, ref: int, to: int, gfn: int, readonly: bool) -> None:
        if granter in self.alive:
            flags = GTF_permit_access | (GTF_readonly if readonly else 0)
            self.enter(granter, ref, Entry(flags, to, gfn))

    def enter(self, granter: int, ref: int, entry: Entry) -> None:
        """A guest writes an entry; only in version 1 that writes over what Xen shows there."""
        part, gfn = entry.part, entry.gfn
        if entry.flags & GTF_type_mask == GTF_transitive:
            part, gfn = (entry.part[0], 0), entry.part[1]
        self.host.grant(granter, ref, entry.to, gfn, entry.flags, part)
        entry.tampered = bool(self.users(granter, ref)) and (
            self.version(granter) == 1 or self.entries[granter, ref].tampered)
        self.entries[granter, ref] = entry

    @rule(granter=domids, ref=refs, to=domids, gfn=gfns, readonly=st.booleans(), part=parts)
    def grant_a_part(self, granter: int, ref: int, to: int, gfn: int, readonly: bool, part: tuple[int, int]) -> None:
        if granter in self.alive and self.version(granter) == 2:
            flags = GTF_permit_access | GTF_sub_page | (GTF_readonly if readonly else 0)
            self.enter(granter, ref, Entry(flags, to, gfn, part=part))

    @rule(granter=domids, ref=refs, to=domids, other=domids, passed_on=st.sampled_from([*REFS, *REFS, BEYOND]),
          readonly=st.booleans(), proper=usually)
    def pass_on(self, granter: int, ref: int, to: int, other: int, passed_on: int, readonly: bool,
                proper: bool) -> None:
        if granter not in self.alive or self.version(granter) == 1:
            return
        if proper:  # something that one has
            other, passed_on = next((key for key, entry in self.entries.items()
                                     if entry.to == granter != key[0] and entry.flags), (other, passed_on))
        flags = GTF_transitive | (GTF_readonly if readonly else 0)
        self.enter(granter, ref, Entry(flags, to, part=(other, passed_on)))

    @rule(other=domids, granter=domids, to=domids, ref=refs, gfn=st.integers(0, PAGES - 1), spot=spots, part=parts,
          into=st.booleans(), twice=seldom, mapped=seldom)
    def pass_on_and_copy(self, other: int, granter: int, to: int, ref: int, gfn: int, spot: int, part: tuple[int, int],
                         into: bool, twice: bool, mapped: bool) -> None:
        self.grant_a_part(other, ref, granter, gfn, False, part)
        if mapped:
            self.grant_and_map(granter, ref, to, gfn, spot, True)
        self.pass_on(granter, ref, to, other, ref, False, False)
        if twice:
            granter, to, other = to, (to + 1) % DOMAINS, granter
            self.pass_on(granter, ref, to, other, ref, False, False)
        self.copy(to, granter, ref, gfn, into, 77, False)

    @rule(granter=domids, ref=refs, to=domids, gfn=st.integers(0, PAGES - 1), part=parts, spot=spots)
    def grant_a_part_and_map(self, granter: int, ref: int, to: int, gfn: int, part: tuple[int, int], spot: int) -> None:
        self.grant_a_part(granter, ref, to, gfn, False, part)
        self.copy(to, granter, ref, gfn, False, 78, False)
        self.map(to, granter, ref, spot, True, True)

    @rule(domid=domids, version=st.integers(1, 2), really=seldom)
    def set_version(self, domid: int, version: int, really: bool) -> None:
        before = self.version(domid)
        if domid not in self.alive or not really:
            return
        entry = self.entries[domid, 0]
        errno = None
        if version != before and self.users(domid, 9):
            errno = Errno.EBUSY
        elif version < before and entry.flags & GTF_type_mask == GTF_transitive:
            errno = Errno.ERANGE
        if errno is not None:
            with pytest.raises(XenError) as error:
                self.grants.set_version(Domid(domid), version)
            assert error.value.errno == errno
            return
        self.grants.set_version(Domid(domid), version)
        assert self.version(domid) == version
        if version != before:
            self.entries[domid, 9] = Entry()
            entry.part = (0, 0)
            if version == 1 and entry.flags & GTF_type_mask != GTF_permit_access:
                self.entries[domid, 0] = Entry(tampered=entry.tampered or bool(self.users(domid, 0)))

    @rule(taker=domids, ref=refs, giver=domids, gfn=st.integers(0, PAGES - 1))
    def want_a_page(self, taker: int, ref: int, giver: int, gfn: int) -> None:
        if taker in self.alive and not self.users(taker, ref):
            self.enter(taker, ref, Entry(GTF_accept_transfer, giver, gfn))

    @rule(giver=domids, taker=domids, ref=refs, gfn=st.integers(0, PAGES))
    def give(self, giver: int, taker: int, ref: int, gfn: int) -> None:
        entry = self.entries[taker, ref]
        wanted = entry.flags == GTF_accept_transfer and entry.to == giver
        if giver not in self.alive or (wanted and self.page(taker, entry.gfn) is not None):
            return
        found = self.page(giver, gfn)
        expected = OKAY
        if found is None or any(mapping.mfn == found[0] for mapping in self.mappings.values()):
            expected = GrantStatus.bad_page
        elif taker not in self.alive:
            expected = GrantStatus.bad_domain
        elif not wanted:
            expected = GrantStatus.general_error
        status, _ = outcome(self.grants.transfers.transfer, giver, gfn, taker, ref)
        assert status == expected
        if status == GrantStatus.bad_page:
            return
        assert found
        del self.owned[found[0]]
        if status == OKAY:
            entry.flags |= GTF_transfer_committed | GTF_transfer_completed
            here = self.page(taker, entry.gfn)
            assert here
            self.owned[here[0]] = taker
            assert self.host.frame_named(taker, ref) == (entry.gfn if taker else here[0])
            entry.gfn = self.host.frame_named(taker, ref)

    @rule(granter=domids, ref=refs, to=domids, gfn=st.integers(0, PAGES - 1), spot=spots, readonly=st.booleans())
    def grant_and_map(self, granter: int, ref: int, to: int, gfn: int, spot: int, readonly: bool) -> None:
        self.grant(granter, ref, to, gfn, False)
        self.map(to, granter, ref, spot, readonly, True)

    @rule(granter=domids, ref=refs, really=usually)
    def revoke(self, granter: int, ref: int, really: bool) -> None:
        if really and granter in self.alive:
            entry = self.entries[granter, ref]
            self.enter(granter, ref, Entry(0, entry.to, entry.gfn))

    @rule(stranger=domids, granter=domids, ref=refs, spot=spots, readonly=st.booleans(), proper=usually)
    def map(self, stranger: int, granter: int, ref: int, spot: int, readonly: bool, proper: bool) -> None:
        mapper = self.entries[granter, ref].to if proper else stranger
        if mapper not in self.alive:
            return
        flags = (GNTMAP_host_map if mapper else GNTMAP_device_map) | (GNTMAP_readonly if readonly else 0)
        expected = self.permission(mapper, granter, ref, readonly, False)
        if expected == OKAY and mapper and self.page(mapper, spot) is not None:
            expected = GrantStatus.general_error
        mfn = self.granted_frame(granter, ref) if expected == OKAY else 0
        status, result = outcome(self.grants.mappings.map_grant_ref,
                                 mapper, spot << 12, flags, ref, granter)
        assert status == expected
        if status == OKAY:
            handle, bus = result
            assert bus == mfn << 12
            assert (mapper, handle) not in self.mappings
            self.mappings[mapper, handle] = Mapping(granter, ref, mfn, flags, spot)

    @precondition(lambda self: self.mappings)
    @rule(data=st.data(), other=spots, proper=usually)
    def unmap(self, data: st.DataObject, other: int, proper: bool) -> None:
        domid, handle = data.draw(st.sampled_from(sorted(self.mappings)))
        mapping = self.mappings[domid, handle]
        spot = mapping.spot if proper else other
        bus = mapping.mfn << 12 if domid == 0 else 0
        found = self.page(domid, spot)
        right = domid == 0 or (found is not None and found[0] == mapping.mfn and found[1] in LENT)
        status, _ = outcome(self.grants.mappings.unmap_grant_ref, domid, spot << 12, bus, handle)
        assert status == (OKAY if right else GrantStatus.general_error)
        if right:
            if domid and spot != mapping.spot:
                # Two handles for one frame: Xen does not know which of them is at which address.
                twin = next(key for key, one in self.mappings.items() if key[0] == domid and one.spot == spot)
                self.mappings[twin].spot = mapping.spot
            del self.mappings[domid, handle]

    @rule(domid=domids, handle=st.integers(0, 300))
    def unmap_what_is_not_mapped(self, domid: int, handle: int) -> None:
        if domid in self.alive and (domid, handle) not in self.mappings:
            status, _ = outcome(self.grants.mappings.unmap_grant_ref, domid, FIRST_SPOT << 12, 0, handle)
            assert status == GrantStatus.bad_handle

    @rule(stranger=domids, granter=domids, ref=refs, any_gfn=gfns, into=st.booleans(), byte=st.integers(1, 255),
          proper=usually)
    def copy(self, stranger: int, granter: int, ref: int, any_gfn: int, into: bool, byte: int, proper: bool) -> None:
        """The ninth byte of a page."""
        copier, gfn = (self.entries[granter, ref].to, any_gfn % PAGES) if proper else (stranger, any_gfn)
        if copier not in self.alive:
            return
        own = self.page(copier, gfn)
        expected, granted, (first, length) = self.reach(copier, granter, ref, not into)
        unusable = own is None or (not into and own[1] == P2mType.GRANT_MAP_RO)
        if unusable and (expected == OKAY or (into and granter in self.alive)):
            expected = GrantStatus.bad_page
        if expected == OKAY and not first <= 8 < first + length:
            expected = GrantStatus.general_error
        arena, before = self.host.arena.u8, bytes(self.host.arena.u8)
        if expected == OKAY:
            assert own
            start, to = (own[0], granted) if into else (granted, own[0])
            arena[start << 12 | 8] = byte
        ends = (gfn, DOMID_SELF, 8, ref, granter, 8) if into else (ref, granter, 8, gfn, DOMID_SELF, 8)
        status, _ = outcome(self.grants.copies.copy, copier, *ends, 1,
                            GNTCOPY_dest_gref if into else GNTCOPY_source_gref)
        assert status == expected
        if status == OKAY:
            assert arena[to << 12 | 8] == byte
        else:
            self.assert_memory_is(before)

    def assert_memory_is(self, before: bytes) -> None:
        for mfn in self.owned:
            assert self.host.arena.page(Mfn(mfn)) == before[mfn << 12:(mfn + 1) << 12]

    @rule(domid=domids, gfn=st.integers(0, PAGES - 1), really=seldom)
    def give_a_page_back(self, domid: int, gfn: int, really: bool) -> None:
        found = self.page(domid, gfn)
        if really and domid in self.alive and found is not None:
            del self.host.memory.p2m[Domid(domid)][Gfn(gfn)]
            del self.owned[found[0]]
            self.host.memory.put_page(found[0])

    @rule(domid=domids, gfn=st.integers(0, PAGES - 1))
    def take_a_page(self, domid: int, gfn: int) -> None:
        if domid in self.alive and self.page(domid, gfn) is None:
            mfn = self.host.memory.allocate_xen_frame(Domid(domid))
            self.host.memory.p2m[Domid(domid)][Gfn(gfn)] = mfn, P2mType.RAM_RW
            self.owned[mfn] = domid

    @rule(domid=domids, really=seldom)
    def die(self, domid: int, really: bool) -> None:
        if really and domid in self.alive:
            self.alive.remove(domid)
            self.host.grants = self.grants
            self.host.die(Domid(domid))
            self.owned = {mfn: owner for mfn, owner in self.owned.items() if owner != domid}
            self.mappings = {key: mapping for key, mapping in self.mappings.items() if key[0] != domid}

    @rule(domid=domids)
    def boot(self, domid: int) -> None:
        if domid in self.alive:
            return
        if any(mapping.granter == domid for mapping in self.mappings.values()):
            with pytest.raises(XenError) as error:
                self.grants.create(Domid(domid), 0, MAX_FRAMES, 1)
            assert error.value.errno == Errno.EBUSY
            return
        self.host.grants = self.grants
        self.host.boot(Domid(domid), PAGES)
        self.alive.add(domid)
        self.record_domain(domid)

    # -- what must hold

    @invariant()
    def pins_agree_with_mappings(self) -> None:
        for granter in range(DOMAINS):
            for ref in REFS:
                users = [mapping for _, mapping in self.users(granter, ref)]
                pin = self.host.active.pin[granter * MAX_FRAMES * 512 + ref]
                counters = [pin >> shift & 255 for shift in (0, 8, 16, 24)]
                assert counters == [sum(1 for mapping in users if mapping.flags & kind and mapping.writes == writes)
                                    for kind in (GNTMAP_host_map, GNTMAP_device_map) for writes in (True, False)]

    @invariant()
    def handles_agree_with_mappings(self) -> None:
        for domid in range(DOMAINS):
            row = domid * self.host.handles
            used = {handle for handle, flags in enumerate(self.host.maptrack.flags[row:row + 256]) if flags}
            assert used == {handle for owner, handle in self.mappings if owner == domid}
            if domid in self.alive:
                assert self.host.grants.mapped(Domid(domid))[0] == len(used)

    @invariant()
    def granters_see_how_their_pages_are_used(self) -> None:
        for (granter, ref), entry in self.entries.items():
            if granter not in self.alive:
                continue
            users = [mapping for _, mapping in self.users(granter, ref)]
            seen = self.host.flags(granter, ref)
            assert (seen ^ entry.flags) & ~(GTF_reading | GTF_writing) == 0
            if not users:
                entry.tampered = False
                assert seen == entry.flags
            elif not entry.tampered:
                assert bool(seen & GTF_reading) == bool(users)
                assert bool(seen & GTF_writing) == any(mapping.writes for mapping in users)

    @invariant()
    def frames_live_as_long_as_somebody_has_them(self) -> None:
        tables = {self.host.frames.mfn[domid * MAX_FRAMES] for domid in self.alive}
        tables |= {self.host.status.mfn[domid] for domid in self.alive if self.version(domid) == 2}
        references: dict[int, int] = dict.fromkeys(tables, 1)
        for mfn in self.owned:
            references[mfn] = 1
        for mapping in self.mappings.values():
            references[mapping.mfn] = references.get(mapping.mfn, 0) + mapping.claims
        assert references == {mfn: frame.refs for mfn, frame in self.host.memory.frames.items()}

    @invariant()
    def nobody_reaches_a_frame_that_is_neither_its_own_nor_granted(self) -> None:
        for domid in self.alive:
            lent = {gfn: (mfn, kind) for gfn, (mfn, kind) in self.host.memory.p2m[Domid(domid)].items() if kind in LENT}
            assert {gfn: mfn for gfn, (mfn, _) in lent.items()} == {
                mapping.spot: mapping.mfn for (owner, _), mapping in self.mappings.items() if owner == domid and domid}
            for gfn, (mfn, _) in self.host.memory.p2m[Domid(domid)].items():
                assert gfn in lent or self.owned[mfn] == domid


Grants.TestCase.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
TestGrants = Grants.TestCase
