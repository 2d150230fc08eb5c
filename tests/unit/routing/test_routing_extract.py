"""Values out of a message: presence, text, identity, sameness, times."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import UnreadableError
from hub.jsonbody import parse_json
from hub.routing import EventConfig, EventReader, Extractor, IdExtractor, Message, parse_time, sameness_hash
from hub.routing.extract import TEXT_CHARS_MAX
from hub.routing.sources import SameConfig

scalars = st.one_of(st.booleans(), st.integers(), st.decimals(allow_nan=False, allow_infinity=False), st.text())
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


def body(text: str) -> Any:
    return parse_json(text.encode())


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ('{"id": 92704}', "data.id", "92704"),
        ('{"amount": 135.0000}', "data.amount", "135.0000"),
        ('{"a": {"b": [1, {"c": "x"}]}}', "data.a.b.1.c", "x"),
        ('{"flag": false}', "data.flag", "false"),
        ('{"flag": true}', "data.flag", "true"),
        ('{"0": "name"}', "data.0", "name"),
        ("[7]", "data.0", "7"),
        ('{"id": " 5 "}', "data.id", " 5 "),
        ('{"id": null}', "data.id", None),
        ('{"id": ""}', "data.id", None),
        ('{"id": "  "}', "data.id", None),
        ('{"id": {}}', "data.id", None),
        ('{"id": [1]}', "data.id", None),
        ('{"id": [1]}', "data.id.1", None),
        ('{"id": [1]}', "data.id.-1", None),
        ('{"id": "text"}', "data.id.0", None),
        ("{}", "data.id", None),
        ("5", "data.id", None),
    ],
)
def test_a_scalar_is_present_and_everything_else_is_absent(text: str, path: str, expected: str | None) -> None:
    assert Extractor([path]).first(body(text)) == expected


def test_the_first_path_that_is_present_wins() -> None:
    extractor = Extractor(["data.a", "data.b", "data.c"])

    assert extractor.first({"a": None, "b": 2, "c": 3}) == "2"
    assert extractor.all({"a": None, "b": 2, "c": 2}) == ("2",)
    assert extractor.first({}) is None


def test_headers_and_the_carrier_can_be_asked_too() -> None:
    extractor = Extractor(["headers.X-Request.Id", "message.message_id"])

    assert extractor.first({}, {"x-request.id": "r1"}, {"message_id": "m1"}) == "r1"
    assert extractor.first({}, MappingProxyType({"x-request.id": "r1"})) == "r1"
    assert extractor.first({}, {}, {"message_id": "m1"}) == "m1"
    assert extractor.first({}, None, {"message_id": ""}) is None


@given(st.lists(names, min_size=1, max_size=4), scalars)
def test_what_was_put_at_a_path_is_found_there(steps: list[str], value: Any) -> None:
    data: Any = value
    for step in reversed(steps):
        data = {step: data}

    found = Extractor([f"data.{'.'.join(steps)}"]).first(data)

    is_blank = isinstance(value, str) and not value.strip()
    assert (found is None) == is_blank


def test_a_text_too_long_for_an_index_keeps_its_identity() -> None:
    long = "x" * (TEXT_CHARS_MAX + 1)

    one, again = (Extractor(["data.id"]).first({"id": long}) for _ in range(2))
    other = Extractor(["data.id"]).first({"id": long + "y"})

    assert one == again != other
    assert one is not None
    assert len(one) < TEXT_CHARS_MAX


def test_a_text_that_just_fits_is_kept_as_it_is() -> None:
    assert Extractor(["data.id"]).first({"id": "x" * TEXT_CHARS_MAX}) == "x" * TEXT_CHARS_MAX


def test_a_text_with_a_nul_never_reaches_a_database() -> None:
    found = Extractor(["data.id"]).first({"id": "a\x00b"})

    assert found is not None
    assert "\x00" not in found
    assert found != Extractor(["data.id"]).first({"id": "ab"})


def test_an_identity_takes_the_first_alternative_whose_parts_are_all_present() -> None:
    ids = IdExtractor([("message.message_id",), ("type", "data.externalId"), ("type", "data.uid", "data.attribute?")])

    def read(data: dict[str, object], message_id: str = "") -> str | None:
        return ids.dedupe_id("card.blocked", Message(data, {}, {"message_id": message_id}), b"")

    assert read({"externalId": 5}, "m-1") == "m-1"
    assert read({"externalId": 5}) == '{"type":"card.blocked","data.externalId":"5"}'
    assert read({"uid": "u", "attribute": 1}) == '{"type":"card.blocked","data.uid":"u","data.attribute":"1"}'
    assert read({"uid": "u"}) == '{"type":"card.blocked","data.uid":"u","data.attribute":null}'
    assert read({"attribute": 1}) is None


def test_the_body_hash_is_an_identity_of_its_own() -> None:
    ids = IdExtractor([("data.id",), ("body_hash",)])

    assert ids.dedupe_id("t", Message({}), b"abc") == ids.dedupe_id("t", Message(None), b"abc")
    assert ids.dedupe_id("t", Message({}), b"abc") != ids.dedupe_id("t", Message({}), b"abd")


def test_a_sender_cannot_imitate_another_form_of_identity() -> None:
    hashed = IdExtractor([("body_hash",)]).dedupe_id("t", Message({}), b"abc")

    imitated = IdExtractor([("data.id",)]).dedupe_id("t", Message({"id": hashed}), b"")

    assert imitated is not None
    assert imitated != hashed


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=2, max_size=2, unique=True))
def test_two_different_pairs_never_make_one_identity(pairs: list[tuple[str, str]]) -> None:
    ids = IdExtractor([("data.a?", "data.b?", "type")])

    one, other = (ids.dedupe_id("t", Message({"a": a, "b": b}), b"") for a, b in pairs)

    blank = [tuple(text if text.strip() else None for text in pair) for pair in pairs]
    assert (one == other) == (blank[0] == blank[1])


def reader(**fields: object) -> EventReader:
    return EventReader(EventConfig.model_validate(fields))


def test_a_type_comes_from_the_file_the_carrier_or_the_body_and_is_renamed() -> None:
    message = Message({"kind": "paid"}, {}, {"routing_key": "order.paid"})

    assert reader(type="order.fixed").type(message) == "order.fixed"
    assert reader(type="routing_key").type(message) == "order.paid"
    assert reader(type="data.kind", rename={"paid": "order.paid"}).type(message) == "order.paid"


@pytest.mark.parametrize("kind", [None, "", "a b", "a..b", "a.*", "x" * 300])
def test_a_message_without_a_usable_type_is_unreadable_and_says_where(kind: object) -> None:
    with pytest.raises(UnreadableError, match=r"data\.kind"):
        reader(type="data.kind").type(Message({"kind": kind}))


def test_a_message_that_came_without_a_routing_key_has_no_type_by_it() -> None:
    for carried in (None, {}, {"message_id": "m-1"}):
        with pytest.raises(UnreadableError, match="routing_key"):
            reader(type="routing_key").type(Message({}, {}, carried))


def test_an_identity_may_take_the_type_and_the_body_in() -> None:
    declared = reader(type="t", id=[["type", "data.n?", "body_hash"]])

    found = {
        declared.dedupe_id(type_, Message({"n": n}), body)
        for type_ in ("a", "b") for n in (1, 2) for body in (b"x", b"y")
    }  # fmt: skip

    assert len(found) == 8
    assert declared.dedupe_id("a", Message({"n": 1}), b"x") in found


def test_the_time_is_read_in_the_zone_that_the_source_names() -> None:
    declared = reader(type="t", occurred=["data.at", "message.timestamp"], occurred_zone="Asia/Ho_Chi_Minh")

    assert str(declared.occurred_at(Message({"at": "2023-03-25 14:02:37"}))) == "2023-03-25 07:02:37+00:00"
    assert str(declared.occurred_at(Message({"at": "2023-03-25T14:02:37Z"}))) == "2023-03-25 14:02:37+00:00"
    assert declared.occurred_at(Message({"at": "soon"})) is None
    assert declared.occurred_at(Message({})) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", "2023-11-14 22:13:20+00:00"),
        ("1700000000123", "2023-11-14 22:13:20.123000+00:00"),
        ("1700000000.5", "2023-11-14 22:13:20.500000+00:00"),
        ("20230325", "2023-03-25 00:00:00+00:00"),
        ("2020-08-13T16:53:47.1234567+09:00", "2020-08-13 07:53:47.123456+00:00"),
        ("NaN", "None"),
        ("1e30", "None"),
        ("9999999999999999999999", "None"),
        ("0001-01-01T00:00:00+14:00", "None"),
        ("yesterday", "None"),
    ],
)
def test_times_are_read_from_the_usual_forms_and_nothing_else_raises(text: str, expected: str) -> None:
    assert str(parse_time(text, ZoneInfo("UTC"))) == expected


@given(st.text())
def test_no_text_makes_reading_a_time_raise(text: str) -> None:
    parse_time(text, ZoneInfo("Asia/Tokyo"))


def test_sameness_looks_at_values_and_not_at_spelling() -> None:
    one, other = body('{"a": 1.00, "b": [1, "x"]}'), body('{"b":[1.0,"x"],"a":1}')

    assert sameness_hash(one, None) == sameness_hash(other, None)
    assert sameness_hash(one, None) != sameness_hash(body('{"a": 1, "b": ["x", 1]}'), None)
    assert sameness_hash(body('{"a": "1"}'), None) != sameness_hash(body('{"a": 1}'), None)
    assert sameness_hash(body('{"a": true}'), None) != sameness_hash(body('{"a": 1}'), None)
    assert sameness_hash(body("10"), None) != sameness_hash(body("1"), None)


def test_long_numbers_are_not_rounded_before_they_are_compared() -> None:
    one, other = body(f"1.{'0' * 40}1"), body(f"1.{'0' * 40}2")

    assert sameness_hash(one, None) != sameness_hash(other, None)


@pytest.mark.parametrize(
    ("one", "others"),
    [
        ("0", ["0.0", "-0", "-0.0", "0e5"]),
        ("1", ["1.0", "1.00", "1e0", "0.1e1"]),
        ("-1", ["-1.0", "-0.1e1"]),
        ("100", ["100.0", "1e2", "1.00E+2", "0.01e4"]),
        ("-120", ["-120.00", "-1.2e2"]),
        ("0.05", ["5e-2", "0.0500"]),
    ],
)
def test_a_number_is_the_same_however_it_is_written(one: str, others: list[str]) -> None:
    assert {sameness_hash(body(f"[{text}]"), None) for text in (one, *others)} == {
        sameness_hash(body(f"[{one}]"), None)
    }


def test_what_was_hashed_by_older_versions_is_the_same_for_this_one() -> None:
    """The hash is kept for ever: in another form each repeat of an old message would contradict it."""
    known = body('{"b": [1, -2.50, 100, "\u00e9\\"", true, null, {}, []], "a": {"c": 0, "A": false}}')

    assert sameness_hash(known, None).hex() == "bb382205f664c4ad0d8499b3c2550fb9"
    assert (
        sameness_hash(known, SameConfig(only=("data.a.c", "data.b.1", "data.gone"))).hex()
        == "2c175872a06e6135989c39de7750f397"
    )


def test_sameness_compares_only_what_the_source_names() -> None:
    same = SameConfig(only=("data.id", "data.amount"))

    assert sameness_hash({"id": 1, "x": 1}, same) == sameness_hash({"id": 1, "x": 2}, same)
    assert sameness_hash({"id": 1}, same) != sameness_hash({"id": 1, "amount": None}, same)


def test_sameness_leaves_out_what_the_source_excludes() -> None:
    same = SameConfig.model_validate({"except": ["data.tries", "data.items.0.at"]})

    one = {"id": 1, "tries": 1, "items": [{"at": 1, "n": 1}]}
    assert sameness_hash(one, same) == sameness_hash({"id": 1, "items": [{"at": 2, "n": 1}]}, same)
    assert sameness_hash(one, same) != sameness_hash({"id": 1, "items": [{"n": 2}]}, same)
