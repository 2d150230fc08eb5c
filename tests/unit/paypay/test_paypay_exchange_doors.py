"""Who and what gets in: keys that speak for the app, notifications that anybody may send, ids that nobody may read."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import SecretStr

from handlers.paypay.http import refuse_foreign_device
from handlers.paypay.networks import NAME, paypay_networks
from handlers.paypay.notices import CASHBACK_KEYS, first_id
from handlers.paypay.sealing import opened, sealed
from handlers.paypay.settings import PayPaySettings
from hub.errors import RefusedCommand
from hub.ingress.endpoints import read_endpoints
from hub.ingress.schemes import SchemeRegistry
from hub.ingress.tokens import Client, Role
from hub.routing import load_routing
from schemas.paypay_exchange import AuthorizationCheck, SessionBody
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


def test_the_open_webhook_has_a_bound_and_no_copy_silences_a_later_one() -> None:
    loaded = load_routing(PROJECT / "routing.yaml", environ={"SEPAY_WEBHOOK_API_KEY": "test-webhook-key"})
    source = loaded.config.sources["paypay"]

    endpoints = read_endpoints({"paypay": source}, SchemeRegistry({NAME: paypay_networks}))

    # Whatever recognised a repeat could be guessed by who sends it first.
    assert source.event.id == ()
    allowances = {endpoint.allowance is not None for endpoint in endpoints.values()}
    assert (allowances, source.unproven.per_minute, source.unproven.bytes_per_minute) == ({True}, 600, 4_194_304)


def test_an_authorization_is_carried_sealed() -> None:
    settings = PayPaySettings(api_secret=SecretStr("c2VjcmV0"))
    other = PayPaySettings(api_secret=SecretStr("b3RoZXI="))
    authorization = "11111111-2222-3333-4444-555555555555"

    text = sealed(authorization, settings)

    assert authorization not in AuthorizationCheck(session_id=UUID(int=1), sealed_authorization=text).model_dump_json()
    assert opened(text, settings) == authorization
    assert (opened(text, other), opened("no box", settings), opened("", settings)) == (None, None, None)
