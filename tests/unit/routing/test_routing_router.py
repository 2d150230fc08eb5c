"""Which routes take an event, and why the others do not."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.routing import Router, RuleVerdict, load_routing, matches
from tests.unit.routing.build import DATA, ENVIRON, event, rules

LARGE = '{"purchaseOperationInfo": {"purchaseData": {"amount": 1000000.0000}}, "customerInfo": {"customerId": 1}}'


def names(router: Router, *args: str, source: str = "shop") -> list[str]:
    return [match.route.name for match in router.route(event(*args, source=source))]


def test_every_route_that_matches_takes_the_event_in_the_order_of_the_file() -> None:
    router = Router(load_routing(DATA / "routing.yaml", environ=ENVIRON))

    found = names(router, "purchases.confirm.modelUpdate", LARGE, source="loymax")

    assert found == ["large-purchases-to-fraud-desk", "member-events-to-smart-communications", "give-bonus"]
    assert names(router, "purchases.other", LARGE, source="loymax") == ["give-bonus"]
    assert names(router, "offer.edited", source="loymax") == []
    assert names(router, "sepay.intent.sweep", source="schedule.expire-intents") == ["sweep-intents"]


def test_a_route_takes_only_its_sources() -> None:
    router = Router(rules("name: a, match: '#', source: [till], publish: out", "name: b, match: '#', publish: out"))

    assert names(router, source="till") == ["a", "b"]
    assert names(router, source="shop") == ["b"]


def test_a_disabled_route_takes_nothing_and_says_so() -> None:
    router = Router(rules("name: a, match: '#', publish: out, disabled: true"))

    assert names(router) == []
    assert router.explain(event()) == [RuleVerdict("a", False, "disabled", "the route is disabled")]


def test_a_condition_that_cannot_be_evaluated_makes_a_match_with_its_error() -> None:
    router = Router(
        rules(
            "name: a, match: '#', when: data.amount > 1.0, publish: out",
            "name: b, match: '#', publish: out",
        )
    )

    found = router.route(event(body="{}"))

    assert [(match.route.name, match.error) for match in found] == [
        ("a", "when: the field 'amount' is missing; ask with has() where it may be"),
        ("b", None),
    ]
    assert router.explain(event(body="{}"))[0].clause == "error"
    assert router.explain(event(body="{}"))[0].matched


def test_a_compiled_route_carries_what_delivering_needs_and_cannot_be_changed() -> None:
    route = Router(load_routing(DATA / "routing.yaml", environ=ENVIRON)).named("settle-bank-transfer")

    assert route is not None
    assert (route.handle, route.publish, route.on_park) == ("sepay.settle_transfer", ("loyalty",), "wait")
    assert (route.attempts, route.first_s, route.longest_s) == (12, 1.0, 600.0)
    assert route.options["currency"] == "VND"
    with pytest.raises(FrozenInstanceError):
        route.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        route.options["currency"] = "JPY"  # type: ignore[index]


def test_a_renamed_route_is_found_under_both_names() -> None:
    router = Router(load_routing(DATA / "routing.yaml", environ=ENVIRON))

    assert router.named("big-purchases") is router.named("large-purchases-to-fraud-desk") is not None
    assert router.named("never") is None


def test_explain_names_the_clause_that_failed_and_the_values_it_saw() -> None:
    router = Router(
        rules(
            "name: by-type, match: [order.refunded, 'stock.#'], publish: out",
            "name: by-source, match: order.paid, source: till, publish: out",
            "name: by-amount, match: order.paid, when: 'has(data.amount) && data.amount >= 1000.0', publish: out",
            "name: by-list, match: order.paid, when: 'data.items.size() > 3 || event.key == \"1\"', publish: out",
            "name: yes, match: [order.*, 'order.#'], source: shop, when: data.amount < 1000.0, publish: out",
        )
    )

    verdicts = router.explain(event("order.paid", '{"amount": 135.0000, "items": [1]}'))

    assert [(verdict.route, verdict.matched, verdict.clause, verdict.detail) for verdict in verdicts] == [
        ("by-type", False, "match", "the type order.paid is matched by none of: order.refunded, stock.#"),
        ("by-source", False, "source", "the source shop is none of: till"),
        ("by-amount", False, "when", "data.amount >= 1000.0 is false (data.amount = 135.0000)"),
        (
            "by-list",
            False,
            "when",
            "data.items.size() > 3 || event.key == \"1\" is false (data.items = a list of 1, event.key = '')",
        ),
        (
            "yes",
            True,
            None,
            "the type order.paid is matched by order.*, order.#; the source is shop; data.amount < 1000.0 is true",
        ),
    ]


def test_explain_shows_a_missing_field_as_missing() -> None:
    router = Router(rules("name: a, match: '#', when: data.amount > 1.0, publish: out"))

    detail = router.explain(event(body="{}"))[0].detail

    assert detail == (
        "data.amount > 1.0 cannot be evaluated, the field 'amount' is missing; ask with has() where it may be "
        "(data.amount = missing)"
    )


def test_explain_hides_what_the_source_masks() -> None:
    router = Router(rules("name: a, match: '#', when: data.card.number == 'x' && data.name == 'y', publish: out"))

    detail = router.explain(event(body='{"card": {"number": "4111"}, "name": "z"}'))[0].detail

    assert "data.card.number = ***" in detail
    assert "data.name = 'z'" in detail
    assert "4111" not in detail


def test_explain_shortens_a_long_value() -> None:
    router = Router(rules("name: a, match: '#', when: data.name == 'y', publish: out"))

    assert len(router.explain(event(body=f'{{"name": "{"z" * 5_000}"}}'))[0].detail) < 200


def test_a_body_that_is_not_json_still_goes_where_no_condition_asks() -> None:
    router = Router(
        rules("name: a, match: '#', publish: out", "name: b, match: '#', when: data.x == 1, publish: other")
    )

    found = router.route(event(body=b"\xff\x00"))

    assert [(match.route.name, match.error) for match in found] == [("a", None), ("b", "when: the body is not JSON")]
    assert "the body is not JSON" in router.explain(event(body=b"\xff"))[1].detail


words = st.sampled_from(["a", "b", "c"])


@given(
    st.lists(
        st.lists(words | st.sampled_from(["*", "#"]), min_size=1, max_size=4).map(".".join), min_size=1, max_size=6
    ),
    st.lists(words, min_size=1, max_size=4).map(".".join),
)
def test_routing_and_explaining_agree(patterns: list[str], type_: str) -> None:
    router = Router(rules(*(f"name: r{n}, match: '{p}', publish: out" for n, p in enumerate(patterns))))

    taken = {match.route.name for match in router.route(event(type_))}

    assert taken == {verdict.route for verdict in router.explain(event(type_)) if verdict.matched}
    assert taken == {f"r{n}" for n, pattern in enumerate(patterns) if matches(pattern, type_)}
