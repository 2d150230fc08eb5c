"""The shipped routing.yaml: it loads, its examples hold, and Loymax's events go where they must and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers import loyalty, paypal, paypay, sepay
from hub.event import Event
from hub.ingress.schemes import BUILT_IN
from hub.routing import (
    Condition,
    ExampleConfig,
    Facts,
    Known,
    LoadedRouting,
    RouteConfig,
    Router,
    check_rules,
    event_of_example,
    load_routing,
)
from hub.routing.extract import Message
from hub.routing.reader import EventReader

ROOT = Path(__file__).parents[3]
LOYMAX = ROOT / "tests/data/loymax"
CAPABILITIES = (sepay.capability, loyalty.capability, paypal.capability, paypay.capability)
INDEX: list[dict[str, Any]] = json.loads((LOYMAX / "index.json").read_text(encoding="utf-8"))
ANY_ROUTE = RouteConfig.model_validate({"name": "any-route", "match": "#", "publish": "anywhere"})


@pytest.fixture(scope="module")
def wiring() -> LoadedRouting:
    known = Known(
        handlers={f"{c.name}.{name}" for c in CAPABILITIES for name in c.handlers},
        schemas={f"{c.name}.{name}" for c in CAPABILITIES for name in c.schemas},
        schemes={*BUILT_IN, *(name for c in CAPABILITIES for name in c.schemes)},
        capabilities={f"handlers.{c.name}" for c in CAPABILITIES},
    )
    return load_routing(ROOT / "routing.yaml", environ={"SEPAY_WEBHOOK_API_KEY": "a-key-for-tests"}, known=known)


def queues_of(wiring: LoadedRouting, file: str, type_: str, source: str = "loymax") -> set[str]:
    event = event_in(wiring, file, type_, source)
    routes = [match.route for match in Router(wiring).route(event) if match.route.handle is None]
    return {wiring.config.destinations[name].queue or "" for route in routes for name in route.publish}


def event_in(wiring: LoadedRouting, file: str, type_: str, source: str = "loymax") -> Event:
    return event_of_example(wiring, ANY_ROUTE, ExampleConfig(file=file, type=type_, source=source))


def test_the_shipped_wiring_has_no_mistake_and_its_examples_hold(wiring: LoadedRouting) -> None:
    report = check_rules(wiring)

    assert [example for example in report.examples if not example.ok] == []
    assert report.uncovered == ()
    assert [coverage.route for coverage in report.coverage if coverage.lacks_counterexample] == []
    assert [str(warning) for warning in report.warnings] == []


@pytest.mark.parametrize("fixture", INDEX, ids=lambda f: str(f["file"]))
def test_each_member_event_reaches_the_downstream_platform_and_its_own_queue(
    wiring: LoadedRouting, fixture: dict[str, Any]
) -> None:
    queues = queues_of(wiring, f"tests/data/loymax/{fixture['file']}", fixture["routing_key_as_documented"])

    assert "smc.customerEvents" in queues
    (own,) = queues - {"smc.customerEvents"}
    assert own in {"loymax.registration", "loymax.cards", "loymax.purchases", "loymax.profile"}


@pytest.mark.parametrize("type_", ["offer.edit", "targetAudience.calculated", "customer.card", "customer.card.linked"])
def test_other_events_reach_only_their_own_queue(wiring: LoadedRouting, type_: str) -> None:
    assert queues_of(wiring, "tests/examples/offer_edited.json", type_) == {"loymax.other"}


def test_the_member_queue_is_bound_by_twelve_ascii_keys_and_no_wildcard(wiring: LoadedRouting) -> None:
    (route,) = [r for r in wiring.config.routes if "smart-communications" in r.publish]

    assert len(route.match) == len(set(route.match)) == 12
    assert all(key.isascii() and not set(key) & set("*#") for key in route.match)


def test_a_merge_is_ordered_after_both_members(wiring: LoadedRouting) -> None:
    merge = event_in(wiring, "tests/data/loymax/profile_merge.json", "customer.profile.merge")

    assert (merge.key, merge.after) == ("11", ("13",))


def test_no_outsider_can_send_what_only_the_hub_says(wiring: LoadedRouting) -> None:
    for type_ in ("wallet.credited", "sepay.transfer.held_released", "sepay.wallet.activate", "sepay.topup.requested"):
        assert queues_of(wiring, "tests/examples/wallet_credited.json", type_) == {"loymax.other"}


@pytest.mark.parametrize(
    ("body", "is_exempt"),
    [
        ({"id": 0, "content": "x"}, True),
        ({"id": "0"}, True),
        ({"id": 1, "content": " Giao dich thu nghiem"}, True),
        ({"id": 1, "content": "Giao dịch thử nghiệm"}, True),
        ({"id": 1, "content": "Giao dich thu nghiem TOPUP1699999999ABCD1234"}, False),
        ({"id": 1, "content": None}, False),
        ({"id": 1}, False),
        ({"content": "x"}, False),
    ],
)
def test_only_test_deliveries_claim_no_identity(
    wiring: LoadedRouting, body: dict[str, object], is_exempt: bool
) -> None:
    condition = Condition.compile(wiring.config.sources["sepay"].event.without_identity or "")
    sample = event_in(wiring, "tests/examples/transfer_in.json", "sepay.transaction.received", source="sepay")

    assert condition.holds(Facts(replace(sample, payload=json.dumps(body).encode(), _data=[]))) is is_exempt


def test_identities_of_loymax(wiring: LoadedRouting) -> None:
    reader = EventReader(wiring.config.sources["loymax"].event)

    def identity(data: dict[str, object], **message: str) -> str | None:
        return reader.dedupe_id("customer.x", Message(data, {}, message), b"{}")

    assert identity({"externalId": "e"}, message_id="m-1") == "m-1"
    assert identity({"externalId": "e"}) == '{"type":"customer.x","data.externalId":"e"}'
    assert identity({"activityUid": "u", "attributeId": 3}) is not None
    assert identity({"activityUid": "u"}) is None
    assert identity({"cardId": 39}) is None


def test_money_arrives_at_the_bank_s_own_time(wiring: LoadedRouting) -> None:
    reader = EventReader(wiring.config.sources["sepay"].event)

    at = reader.occurred_at(Message({"transactionDate": "2024-11-15 09:35:00"}))

    assert at is not None
    assert at.isoformat() == "2024-11-15T02:35:00+00:00"
    assert reader.occurred_at(Message({"transactionDate": "15/11/2024"})) is None
