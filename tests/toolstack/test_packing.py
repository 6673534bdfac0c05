"""Domains that refer to each other are put into one actor, as far as they fit."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolstack.packing import Packed, Wish, actor_name, pack


def packed(wishes: list[Wish], capacity: int) -> list[tuple[int, ...]]:
    return [actor.domids for actor in pack(wishes, capacity)]


def independent(count: int) -> list[Wish]:
    return [Wish(domid) for domid in range(1, count + 1)]


def test_without_a_wish_every_domain_has_an_actor_of_its_own() -> None:
    linked = [Wish(1, [2]), Wish(2, [1]), Wish(3)]
    assert packed(linked, 1) == [(1,), (2,), (3,)]


def test_domains_that_share_nothing_fill_actors_in_their_order() -> None:
    assert packed(independent(7), 3) == [(1, 2, 3), (4, 5, 6), (7,)]


def test_pairs_stay_together_although_their_domids_are_far_apart() -> None:
    pings = [Wish(n, [n + 4]) for n in range(1, 5)]
    pongs = [Wish(n + 4, [n]) for n in range(1, 5)]
    assert packed(pings + pongs, 4) == [(1, 2, 5, 6), (3, 4, 7, 8)]


def test_a_pair_is_not_cut_to_fill_an_actor() -> None:
    assert packed([Wish(1, [2]), Wish(2), Wish(3, [4]), Wish(4), Wish(5)], 3) == [(1, 2, 5), (3, 4)]


def test_a_link_counts_whoever_wrote_it() -> None:
    assert packed([Wish(1), Wish(2), Wish(3, [1])], 2) == [(1, 3), (2,)]


def test_a_ring_that_does_not_fit_is_cut_into_arcs() -> None:
    ring = [Wish(n, [n % 12 + 1]) for n in range(1, 13)]
    assert packed(ring, 4) == [(1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12)]


def test_a_star_that_does_not_fit_keeps_the_hub_with_some() -> None:
    star = [Wish(1), *(Wish(n, [1]) for n in range(2, 11))]
    assert packed(star, 4) == [(1, 2, 3, 4), (5, 6, 7, 8), (9, 10)]


def test_who_is_to_be_apart_is_alone_whatever_it_is_linked_with() -> None:
    assert packed([Wish(1, [2], apart=True), Wish(2, [1]), Wish(3)], 3) == [(1,), (2, 3)]


def test_a_named_actor_takes_all_who_name_it_and_nobody_else() -> None:
    wishes = [Wish(1, actor="back"), Wish(2, [1]), Wish(3, actor="back"), Wish(4, actor="back")]
    assert pack(wishes, 2) == [Packed((1, 3, 4), "back"), Packed((2,))]


def test_who_links_to_itself_or_to_nobody_known_is_alone() -> None:
    assert packed([Wish(1, [1, 9])], 2) == [(1,)]


def test_thousands_of_domains_take_no_time() -> None:
    wishes = [Wish(n, [n ^ 1]) for n in range(2, 32752)]
    actors = pack(wishes, 50)
    assert len(actors) == 655
    assert all(len(actor.domids) == 50 for actor in actors)


@st.composite
def hosts(draw: st.DrawFn) -> list[Wish]:
    domids = range(1, draw(st.integers(1, 25)) + 1)
    links = st.lists(st.sampled_from(domids), max_size=3)
    wishes = st.tuples(links, st.booleans(), st.sampled_from([None, None, None, "a", "b"]))
    drawn = [draw(wishes) for _ in domids]
    return [Wish(domid, link, apart and actor is None, actor)
            for domid, (link, apart, actor) in zip(domids, drawn, strict=True)]


@given(hosts(), st.integers(1, 8))
def test_every_domain_is_in_one_actor_that_is_not_too_full(wishes: list[Wish], capacity: int) -> None:
    actors = pack(wishes, capacity)
    assert sorted(domid for actor in actors for domid in actor.domids) == [wish.domid for wish in wishes]
    assert all(a.domids[0] < b.domids[0] for a, b in pairwise(actors))
    for actor in actors:
        members = [wishes[domid - 1] for domid in actor.domids]
        assert list(actor.domids) == sorted(actor.domids)
        assert {wish.actor for wish in members} == {actor.name}
        if actor.name is None:
            assert len(members) <= capacity
            assert len(members) == 1 or not any(wish.apart for wish in members)


@given(hosts(), st.integers(2, 8))
def test_a_set_that_fits_is_not_cut(wishes: list[Wish], capacity: int) -> None:
    free = {wish.domid for wish in wishes if not wish.apart and wish.actor is None}
    sets = {domid: {domid} for domid in free}
    for wish in wishes:
        for other in wish.links:
            if {wish.domid, other} <= free:
                union = sets[wish.domid] | sets[other]
                sets.update(dict.fromkeys(union, union))
    actors = [set(actor.domids) for actor in pack(wishes, capacity)]
    assert all(any(together <= actor for actor in actors) for together in sets.values() if len(together) <= capacity)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["writer"], "writer"),
        (["w-0"], "w-0"),
        (["reader", "writer"], "reader,writer"),
        (["w-0", "w-1", "w-2"], "w-0..2"),
        (["w-0", "w-1", "w-3", "w-9"], "w-0..1,w-3,w-9"),
        (["ping-0", "ping-1", "pong-0", "pong-1"], "ping-0..1,pong-0..1"),
        (["a-b-7", "a-b-8", "a-9"], "a-b-7..8,a-9"),
        (["w-01", "w-02"], "w-01,w-02"),
    ],
)
def test_an_actor_is_named_after_its_domains(names: list[str], name: str) -> None:
    assert actor_name(names) == name


def test_a_list_that_is_too_long_is_cut_and_says_how_many_there_are() -> None:
    name = actor_name([f"domain{n}" for n in range(50)])
    assert name.startswith("domain0,domain1,domain2,")
    assert name.endswith(",...of-50")
    assert len(name) <= 100
    assert len(actor_name([f"{'x' * 60}{letter}" for letter in "abc"])) <= 100
