"""Who and what gets in: keys that speak for the app, notifications that anybody may send, ids that nobody may read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from handlers.paypay import authorizations
from handlers.paypay.authorizations import check_authorization
from handlers.paypay.http import refuse_foreign_device
from handlers.paypay.networks import NAME, paypay_networks
from handlers.paypay.notices import CASHBACK_KEYS, first_id
from handlers.paypay.outcomes import Facts, Outcome, Unknown, Verdict
from handlers.paypay.sealing import opened, sealed
from handlers.paypay.settings import PayPaySettings
from hub.errors import RefusedCommand
from hub.ingress.endpoints import read_endpoints
from hub.ingress.schemes import SchemeRegistry
from hub.ingress.tokens import Client, Role
from hub.routing import load_routing
from schemas.paypay import CancelOrder, PaymentDecided
from schemas.paypay_exchange import AuthorizationCheck, PersonDecided, RetryBody, ReversalBody, SessionBody
from schemas.paypay_files import FileOrdered
from tests.support.running import PROJECT

BODY = SessionBody(member_id="m-1", device_type="APP", redirect_url="https://shop.example/menu")


@pytest.mark.parametrize("listed", ["", "native-app"])
def test_no_key_speaks_for_the_app_unless_it_is_listed(listed: str) -> None:
    settings = PayPaySettings(app_clients=listed)

    with pytest.raises(RefusedCommand, match="'backend' does not speak for the app: list it in PAYPAY_APP_CLIENTS"):
        refuse_foreign_device(Client("backend", Role.CLIENT), BODY, settings)
    refuse_foreign_device(Client("backend", Role.CLIENT), BODY.model_copy(update={"device_type": "SP"}), settings)
    if listed:
        refuse_foreign_device(Client(listed, Role.CLIENT), BODY, settings)


@pytest.mark.parametrize(
    "text", ["cb-\0", "\0", "", "x" * 65, "cb-\ud800", "cb 1", "cb-1\n", "ポイント", 1, None, ["cb-1"]]
)
def test_only_what_can_be_an_id_is_looked_for(text: object) -> None:
    assert first_id({"merchantCashbackId": text}, CASHBACK_KEYS) is None
    # A misspelt twin may name it all the same.
    assert first_id({"merchantCashbackId": text, "merchantCashbackld": "cb-1"}, CASHBACK_KEYS) == "cb-1"


@pytest.mark.parametrize(
    ("model", "field"),
    [
        *((ReversalBody, "reason"), (ReversalBody, "operator"), (PersonDecided, "note"), (PersonDecided, "by")),
        *((RetryBody, "operator"), (CancelOrder, "note"), (PaymentDecided, "by"), (FileOrdered, "by")),
        (SessionBody, "redirect_url"),
    ],
)
def test_no_text_of_a_person_holds_what_a_database_refuses(model: type[BaseModel], field: str) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(model.model_fields[field].rebuild_annotation())
    assert adapter.validate_python("https://shop.example/menu") == "https://shop.example/menu"
    for text in ("https://shop.example/\0", "\0", "https://shop\0.example/"):
        with pytest.raises(ValidationError):
            adapter.validate_python(text)


def test_the_open_webhook_has_a_bound_and_no_copy_silences_a_later_one() -> None:
    loaded = load_routing(PROJECT / "routing.yaml", environ={"SEPAY_WEBHOOK_API_KEY": "test-webhook-key"})
    source = loaded.config.sources["paypay"]

    endpoints = read_endpoints({"paypay": source}, SchemeRegistry({NAME: paypay_networks}))

    # Whatever recognised a repeat could be guessed by who sends it first.
    assert source.event.id == ()
    allowances = {endpoint.allowance is not None for endpoint in endpoints.values()}
    assert (allowances, source.unproven.per_minute, source.unproven.bytes_per_minute) == ({True}, 600, 4_194_304)


async def test_an_authorization_that_is_refused_strangely_is_not_asked_about_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, concluded = PayPaySettings(api_secret=SecretStr("c2VjcmV0")), list[str]()
    refused = Facts(call="get_user_status", verdict=Verdict.MANUAL, http_status=418, code="A_NEW_CODE")

    async def call(*_: object, **__: object) -> Outcome:
        return Unknown("A_NEW_CODE", refused.stored())

    ctx: Any = SimpleNamespace(settings=settings, call=call, conclude=concluded.append)
    monkeypatch.setattr(authorizations, "paypay", lambda _: SimpleNamespace(read_authorization=None))

    check = AuthorizationCheck(session_id=uuid4(), sealed_authorization=sealed("user-1", settings))
    await check_authorization.function(check, ctx)

    assert concluded == ["not_told"]


def test_an_authorization_is_carried_sealed() -> None:
    settings = PayPaySettings(api_secret=SecretStr("c2VjcmV0"))
    other = PayPaySettings(api_secret=SecretStr("b3RoZXI="))
    authorization = "11111111-2222-3333-4444-555555555555"

    text = sealed(authorization, settings)

    assert authorization not in AuthorizationCheck(session_id=UUID(int=1), sealed_authorization=text).model_dump_json()
    assert opened(text, settings) == authorization
    assert (opened(text, other), opened("no box", settings), opened("", settings)) == (None, None, None)
