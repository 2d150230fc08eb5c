"""What one round takes: within the bounds of each destination, in order, and fair between old and new."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.outbox.picker import BATCH_BYTES_MAX, Head, Picked, Rooms, in_equal_parts, open_only, within_bounds
from hub.routing.config import DestinationConfig

DESTINATIONS = {name: DestinationConfig(queue=name, max_in_flight=most) for name, most in (("a", 2), ("b", 5))}


def heads_to(*destinations: str, size: int = 1) -> list[Head]:
    return [Head(seq, seq, 0, destination, 0, size) for seq, destination in enumerate(destinations)]


def seqs(heads: list[Head]) -> list[int]:
    return [head.seq for head in heads]


@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(1, 10), st.integers(0, 3) | st.none())
def test_a_round_takes_the_first_that_fit_and_holds_back_what_the_flow_has_no_room_for(
    names: list[str], limit: int, room_of_a: int | None
) -> None:
    rooms = Rooms()
    if room_of_a is not None:
        rooms.put("a", room_of_a, 1.0)
    most = {"a": 2 if room_of_a is None else min(2, room_of_a), "b": 5}
    heads = heads_to(*names)

    chosen, held = within_bounds(heads, limit, DESTINATIONS, rooms)

    taken = Counter(head.destination for head in chosen)
    assert len(chosen) <= limit
    assert all(taken[name] <= bound for name, bound in most.items())
    assert (seqs(chosen), seqs(held)) == (sorted(seqs(chosen)), sorted(seqs(held)))
    assert not set(seqs(chosen)) & set(seqs(held))
    for name in "abc":
        own, bound = [head for head in heads if head.destination == name], most.get(name, limit)
        of_name = [head for head in chosen if head.destination == name]
        assert of_name == own[: len(of_name)]
        if len(chosen) < limit:
            # Nothing but its own bound keeps a message back.
            assert len(of_name) == min(len(own), bound)
        waiting = [head for head in held if head.destination == name]
        assert not waiting or (name == "a" and room_of_a is not None)
        if waiting:
            assert waiting == own[len(of_name) :][: len(waiting)]
    if room_of_a is not None and len(chosen) < limit:
        assert len([head for head in held if head.destination == "a"]) == max(0, names.count("a") - most["a"])


@pytest.mark.parametrize(
    ("sizes", "goes"),
    [
        ([BATCH_BYTES_MAX + 1, 1], [0]),
        ([1, BATCH_BYTES_MAX], [0]),
        ([1, BATCH_BYTES_MAX - 1, 1], [0, 1]),
        ([1, 1, 1], [0, 1, 2]),
    ],
)
def test_a_round_holds_so_many_bytes_but_one_large_message_goes_alone(sizes: list[int], goes: list[int]) -> None:
    heads = [Head(seq, seq, 0, "b", 0, size) for seq, size in enumerate(sizes)]

    assert seqs(within_bounds(heads, 10, DESTINATIONS, Rooms())[0]) == goes


@given(
    st.lists(st.integers(0, 40), unique=True),
    st.lists(st.integers(41, 80), unique=True),
    st.booleans(),
    st.integers(1, 12),
)
def test_what_is_tried_again_and_what_is_new_share_a_round(
    first: list[int], second: list[int], is_first_due: bool, limit: int
) -> None:
    due, new = (first, second) if is_first_due else (second, first)

    mixed = seqs(
        in_equal_parts(
            [Head(seq, seq, 0, "a", 0, 1) for seq in due], [Head(seq, seq, 0, "a", 0, 1) for seq in new], limit
        )
    )

    assert sorted(mixed) == sorted(due + new)
    assert [seq for seq in mixed if seq in set(due)] == sorted(due)
    assert [seq for seq in mixed if seq in set(new)] == sorted(new)
    of_due = len(set(mixed[:limit]) & set(due))
    if len(due) + len(new) >= limit:
        # Half each; what one does not need is the other's.
        assert of_due == min(len(due), max(limit // 2, limit - len(new)))


def test_a_destination_takes_the_least_of_what_was_said_and_is_looked_at_when_all_have_passed() -> None:
    rooms = Rooms()
    rooms.put("a", 3, 1.0)
    rooms.put("a", 1, 0.5)
    rooms.put("b", 0, 2.0)
    rooms.put("z", 0, 2.0)

    assert (rooms.of("a", DESTINATIONS["a"]), rooms.look_s("a")) == (1, 1.0)
    assert (rooms.of("b", DESTINATIONS["b"]), rooms.closed) == (0, ("b", "z"))
    assert Rooms().of("b", DESTINATIONS["b"]) == 5
    assert rooms.of("z", None) is None
    assert (rooms.is_bound("a"), Rooms().is_bound("a")) == (True, False)


def test_a_due_chain_whose_destination_is_closed_is_put_off_once_by_its_head() -> None:
    rooms, picked = Rooms(), Picked()
    rooms.put("a", 0, 4.0)
    due = [Head(1, 7, 0, "a", 0, 1), Head(2, 8, 0, "b", 0, 1), Head(3, 7, 0, "a", 0, 1)]

    assert open_only(due, rooms, picked) == [due[1]]
    assert picked.put_off == [(due[0], 4.0)]
