"""The load: its size, its repeats and its poison are what the judge counts on."""

from __future__ import annotations

import json

import pytest

from benchmarks.load import CUSTOMERS, Load


@pytest.mark.parametrize("events", [1, 99, 100, 101, 1_000])
def test_one_in_a_hundred_is_sent_twice(events: int) -> None:
    load = Load(events=events)

    sent = [message_id for message_id, _ in load.messages()]

    assert len(sent) == events + load.repeats
    assert len(set(sent)) == events


def test_a_body_has_the_size_of_a_real_event() -> None:
    sizes = {len(Load(events=1).body(number)) for number in (0, 999, 99_999)}

    assert 530 <= min(sizes) <= max(sizes) <= 570


def test_poison_has_keys_of_its_own_and_is_never_a_repeat() -> None:
    load = Load(events=1_000, poison_every=100)

    bodies = [json.loads(body) for _, body in load.messages()]
    poison = [body for body in bodies if body["is_poison"]]

    assert len(poison) == load.poisoned == 10
    assert len({body["customer"] for body in poison}) == 10
    assert not {body["customer"] for body in poison} & {body["customer"] for body in bodies if not body["is_poison"]}
    assert load.good_ids() == {body["id"] for body in bodies} - {body["id"] for body in poison}


def test_a_hot_account_leaves_the_keys_as_they_are_and_a_hot_key_does_not() -> None:
    account = [json.loads(body) for _, body in Load(events=2 * CUSTOMERS, hot="account").messages()]
    key = [json.loads(body) for _, body in Load(events=2 * CUSTOMERS, hot="key").messages()]

    assert {body["wallet"] for body in account} == {"hot"}
    assert len({body["customer"] for body in account}) == CUSTOMERS
    assert {(body["wallet"], body["customer"]) for body in key} == {("hot", "hot")}


def test_a_prefix_sets_ids_apart() -> None:
    assert not Load(events=10, prefix="a").good_ids() & Load(events=10, prefix="b").good_ids()
