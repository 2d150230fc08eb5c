"""What is hidden, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from pydantic import BaseModel, SecretStr

from hub.event import Event, Verdict
from hub.explain.curtain import Curtain, plain_request
from hub.operate.masking import Mask


class Login(BaseModel):
    user: str
    pin: SecretStr


def event_of(payload: str) -> Event:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    return Event(
        id=UUID(int=1),
        source="shop",
        type="sale.made",
        key=None,
        dedupe_id=None,
        occurred_at=now,
        received_at=now,
        content_type="application/json",
        payload=payload.encode(),
        headers={"x-customer": "Nguyen Van A"},
        traceparent="",
        verdict=Verdict.VALID,
    )


def curtain(payload: str, *paths: str) -> Curtain:
    return Curtain(Mask(paths), paths, event_of(payload))


def test_a_hidden_value_is_hidden_in_every_text() -> None:
    hiding = curtain('{"name": "Trần \\"B\\"", "cards": [{"number": 41112222}]}', "data.name", "data.cards.number")

    assert hiding.text('Trần "B" paid with 41112222.') == "*** paid with ***."
    assert hiding.payload(b'{"to": "Tr\xe1\xba\xa7n \\"B\\"", "n": 41112222}', raw=False) == '{"to": "***", "n": ***}'


def test_a_short_value_is_hidden_as_a_word_only() -> None:
    hiding = curtain('{"pin": "1234", "no": "7"}', "data.pin", "data.no")

    assert hiding.text("pin 1234 of 99123499, no 7") == "pin *** of 99123499, no 7"


def test_a_masked_header_is_hidden_with_its_value() -> None:
    hiding = curtain("{}", "headers.x-customer")

    assert hiding.text("sold to Nguyen Van A") == "sold to ***"
    assert hiding.headers({"x-customer": "a", "x-shop": "b"}, raw=False) == {"x-customer": "***", "x-shop": "b"}


def test_secrets_of_a_request_are_found_by_their_names_at_any_depth() -> None:
    request = {
        "login": Login(user="u", pin=SecretStr("p1")),
        "auth": [{"access_token": "t", "Authorization": "Bearer b"}],
    }

    shown = plain_request(request)

    assert shown["login"]["user"] == "u"
    assert "p1" not in str(shown)
    assert shown["auth"] == [{"access_token": "***", "Authorization": "***"}]


def test_a_request_that_contains_itself_comes_to_an_end() -> None:
    request: dict[str, object] = {"amount": 1}
    request["self"] = request

    assert plain_request(request)["amount"] == 1
