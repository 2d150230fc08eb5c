"""What was just written is read from memory, as often as it will be asked for and within a bound."""

from __future__ import annotations

import pytest

from hub import recent as recent_module
from hub.recent import AGE_S_MAX, READ_SHARE, ROW_BYTES, Recent


def test_a_row_is_there_for_each_of_its_readers_and_then_gone() -> None:
    recent: Recent[str] = Recent()
    recent.keep(7, "seven", payload=b"x", readers=2)

    assert [recent.take(7), recent.take(7), recent.take(7)] == ["seven", "seven", None]
    assert len(recent) == 0


def test_a_row_that_was_read_before_it_could_be_kept_is_not_kept_for_that_reader() -> None:
    recent: Recent[int] = Recent()
    assert (recent.take(1), recent.take(2)) == (None, None)

    recent.keep(1, 1, payload=b"x")
    recent.keep(2, 2, payload=b"x", readers=2)

    assert len(recent) == 1
    assert [recent.take(2), recent.take(2)] == [2, None]


def test_only_so_many_misses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_module, "MISSED_MAX", 2)
    recent: Recent[int] = Recent()
    for number in (1, 2, 3):
        recent.take(number)

    for number in (1, 2, 3):
        recent.keep(number, number, payload=b"x")

    assert [recent.take(number) for number in (1, 2, 3)] == [1, None, None]


def test_what_was_not_committed_after_all_is_gone_and_makes_room() -> None:
    recent: Recent[int] = Recent(bytes_max=2 * ROW_BYTES + 2)
    recent.keep(1, 1, payload=b"x")
    recent.keep(2, 2, payload=b"x")

    recent.forget([1, 2, 3])
    recent.keep(1, 11, payload=b"x")
    recent.keep(4, 4, payload=b"x")

    assert [recent.take(number) for number in (1, 2, 4)] == [11, None, 4]


def test_what_nobody_will_read_is_not_kept() -> None:
    recent: Recent[str] = Recent()

    recent.keep(7, "seven", payload=b"x", readers=0)

    assert recent.take(7) is None


def test_what_is_too_much_is_not_kept_so_that_the_oldest_are_there_for_their_readers() -> None:
    recent: Recent[int] = Recent(bytes_max=3 * (ROW_BYTES + 10))

    for number in range(5):
        recent.keep(number, number, payload=bytes(10))

    assert [recent.take(number) for number in range(5)] == [0, 1, 2, None, None]


def test_what_nobody_has_read_for_long_makes_room() -> None:
    now_s = 0.0
    recent: Recent[int] = Recent(bytes_max=2 * (ROW_BYTES + 10), monotonic=lambda: now_s)
    recent.keep(0, 0, payload=bytes(10))
    now_s = AGE_S_MAX
    recent.keep(1, 1, payload=bytes(10))

    recent.keep(2, 2, payload=bytes(10))
    recent.keep(3, 3, payload=bytes(10))

    assert [recent.take(number) for number in range(4)] == [None, 1, 2, None]


def test_what_was_read_of_a_payload_counts_as_well() -> None:
    recent: Recent[int] = Recent(bytes_max=2 * (ROW_BYTES + 10 * (1 + READ_SHARE)))

    for number in range(3):
        recent.keep(number, number, payload=bytes(10), is_read=True)

    assert [recent.take(number) for number in range(3)] == [0, 1, None]


def test_a_row_larger_than_the_bound_is_read_back() -> None:
    recent: Recent[int] = Recent(bytes_max=100)

    recent.keep(1, 1, payload=bytes(200))

    assert (recent.take(1), len(recent)) == (None, 0)


def test_a_number_kept_twice_counts_once() -> None:
    recent: Recent[int] = Recent(bytes_max=2 * ROW_BYTES)
    recent.keep(1, 1, payload=b"")
    recent.keep(1, 1, payload=b"")

    recent.keep(2, 2, payload=b"")

    assert (recent.take(1), recent.take(2)) == (1, 2)


def test_nothing_is_kept_after_it_was_closed() -> None:
    recent: Recent[int] = Recent()
    recent.keep(1, 1, payload=b"")

    recent.close()
    recent.keep(2, 2, payload=b"")

    assert (recent.take(1), recent.take(2), len(recent)) == (None, None, 0)
