"""Conditions: what they may ask, what they see, and that an error never counts as true."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.routing import Condition, ConditionError, Facts
from hub.routing.explain import conjuncts, references
from tests.unit.routing.build import event


def holds(condition: str, body: str = "{}", **fields: object) -> bool:
    return Condition.compile(condition).holds(Facts(event(body=body, **fields)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("condition", "body", "expected"),
    [
        ("data.amount >= 1000000.0", '{"amount": 1000000.0000}', True),
        ("data.amount >= 1000000.0", '{"amount": 999999.9999}', False),
        ("data.amount >= 1000000.0", '{"amount": 1000000}', True),
        ("data.amount > 5", '{"amount": 5.5}', True),
        ("data.id == 9223372036854775807", '{"id": 9223372036854775807}', True),
        ("data.id == '9223372036854775808'", '{"id": 9223372036854775808}', True),
        ("data.id == -9223372036854775808", '{"id": -9223372036854775808}', True),
        ("data.items[1].sku == 'b'", '{"items": [{"sku": "a"}, {"sku": "b"}]}', True),
        ("data.items.exists(item, item.sku == 'b')", '{"items": [{"sku": "a"}]}', False),
        ("has(data.card) && data.card.isBlocked", "{}", False),
        ("data.card == null", '{"card": null}', True),
        ("data.flag", '{"flag": true}', True),
        ("data['odd name'] == 'é'", '{"odd name": "é"}', True),
        ("data.name.startsWith('A') || data.name.matches('^b+$')", '{"name": "bbb"}', True),
        ("timestamp(data.at) > timestamp('2020-01-01T00:00:00Z')", '{"at": "2020-08-13T16:53:47Z"}', True),
        ("data.a == 1 || data.b == 2", '{"a": 1}', True),
    ],
)
def test_a_condition_sees_the_body(condition: str, body: str, expected: bool) -> None:
    assert holds(condition, body) is expected


def test_a_condition_sees_the_event_the_headers_and_the_carrier() -> None:
    assert holds("event.type == 'order.paid' && event.source == 'shop'")
    assert holds("event.key == ''")
    assert holds("event.key == '107'", key="107")
    assert holds("headers['x-kind'] == 'full'", headers={"X-Kind": "full"})
    assert holds("'x-kind' in headers", headers={"x-kind": "full"})
    one = event()
    assert Condition.compile(f"event.id == '{one.id}'").holds(Facts(one))
    assert holds("message.message_id == 'm1' && message.routing_key == 'order.paid'", message_id="m1")


@pytest.mark.parametrize(
    ("condition", "body", "expected"),
    [
        ("data.amount > 1.0", "{}", "the field 'amount' is missing; ask with has() where it may be"),
        ("data.amount > 1.0", '{"amount": "2"}', "No matching overloads found"),
        ("data.amount > 1.0", '{"amount": null}', "No matching overloads found"),
        ("data.flag", '{"flag": "true"}', "expected true or false, the condition gave a value of type string"),
        ("data.flag", '{"flag": 1}', "the condition gave a value of type int"),
        ("data.flag", '{"flag": {}}', "the condition gave a value of type map"),
        ("1 / data.zero > 0", '{"zero": 0}', "divide by zero"),
        ("data.items[5] == 1", '{"items": []}', "Index error"),
        ("headers.missing == 'x'", "{}", "the field 'missing' is missing"),
        ("data.x == 1", "not json", "the body is not JSON"),
        ("data.a == 1 && data.b == 2", '{"a": 1}', "the field 'b' is missing"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_and_never_true(condition: str, body: str, expected: str) -> None:
    with pytest.raises(ConditionError) as caught:
        holds(condition, body)

    assert expected in str(caught.value)


def test_a_condition_that_asks_only_about_headers_needs_no_json() -> None:
    assert holds("headers['x-kind'] == 'full'", "not json", headers={"x-kind": "full"})


def test_a_condition_cannot_run_for_long() -> None:
    body = f'{{"items": [{",".join(["1"] * 2_000)}]}}'

    with pytest.raises(ConditionError, match="too many steps"):
        holds("data.items.all(i, data.items.all(j, i + j > 0))", body)


@pytest.mark.parametrize(
    ("condition", "place", "expected"),
    [
        ("dta.amount > 1", (1, 1), "unknown name 'dta'; did you mean 'data'?"),
        ("event.sorce == 'x'", (1, 1), "unknown field 'sorce' of event; did you mean 'source'?"),
        ("message.id == 'x'", (1, 1), "unknown field 'id' of message"),
        ("data.x ==", (1, 10), "expected a condition in CEL, mismatched input '<EOF>'"),
        ("data.x == 1 &&\n  foo(data.x)", (2, 6), "unknown name 'foo'"),
        ("'a' > 1", (1, 5), "found no matching overload"),
        ("data.x + 1 == 2 ? 'a' : 'b'", (None, None), "expected a condition that is true or false"),
        (
            "(" * 300 + "1" + ")" * 300,
            (None, None),
            "expected a condition in CEL: Expression recursion limit exceeded. limit: 32",
        ),
        ("1 + " * 2_000 + "1 == 1", (None, None), "Exceeded max recursion depth of 32 when parsing."),
    ],
)
def test_a_mistake_is_found_before_any_event(
    condition: str, place: tuple[int | None, int | None], expected: str
) -> None:
    with pytest.raises(ConditionError) as caught:
        Condition.compile(condition)

    assert expected in str(caught.value)
    assert not any(status in str(caught.value) for status in ("CANCELLED", "INVALID_ARGUMENT"))
    assert (caught.value.line, caught.value.column) == place


def test_a_condition_about_nothing_is_known_as_such() -> None:
    assert Condition.compile("1 > 2").constant is False
    assert Condition.compile("true || 1 > 2").constant is True
    assert Condition.compile("data.x > 2").constant is None
    assert Condition.compile("1 / 0 > 2").constant is None


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4))
def test_a_threshold_is_compared_as_a_double(amount: Decimal) -> None:
    assert holds("data.amount >= 1000.0", f'{{"amount": {amount:f}}}') is (float(amount) >= 1000.0)


def test_one_condition_serves_many_threads() -> None:
    condition = Condition.compile("data.n % 2 == 0")
    wrong: list[int] = []

    def run(start: int) -> None:
        for number in range(start, start + 500):
            if condition.holds(Facts(event(body=f'{{"n": {number}}}'))) is not (number % 2 == 0):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a"]),
        ("a && b", ["a", "b"]),
        ("a && (b || c) && d", ["a", "(b || c)", "d"]),
        ("a || b && c", ["a || b && c"]),
        ("a ? b && c : d", ["a ? b && c : d"]),
        ("data.x == 'a && b' && c", ["data.x == 'a && b'", "c"]),
        ('data.x == "(" && c', ['data.x == "("', "c"]),
        ("has(data.x) &&\n  data.x > 1", ["has(data.x)", "data.x > 1"]),
        ("data.l.exists(i, i && true) && c", ["data.l.exists(i, i && true)", "c"]),
    ],
)
def test_a_condition_is_divided_where_its_parts_meet(text: str, expected: list[str]) -> None:
    assert conjuncts(text) == expected


def test_the_fields_that_a_condition_names_are_found() -> None:
    text = "data.a.b > 1 && data.name.startsWith('data.no') && headers['x-kind'] == event.key && data.items[0].id == 1"

    assert references(text) == ["data.a.b", "data.name", "headers.x-kind", "event.key", "data.items.0.id"]
