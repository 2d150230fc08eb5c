"""Several accounts in the settings, and the price list that fees are compared with."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from handlers.paypal import books
from handlers.paypal.accounts import UnknownAccountError
from handlers.paypal.client import Call, CredentialsRefusedError, PaypalClient
from handlers.paypal.cooling import PaypalBusyError
from handlers.paypal.fees import is_unusual
from handlers.paypal.office import office_of
from handlers.paypal.settings import PaypalSettings, fee_estimate
from hub.errors import ConfigError
from hub.money import Money
from hub.settings import read_settings

OTHER = {"client_id": "c2", "secret": "SECRET-2", "webhook_id": "w2"}


def settings(**more: str) -> PaypalSettings:
    own = {"HUB_PAYPAL_CLIENT_ID": "c", "HUB_PAYPAL_SECRET": "s", "HUB_PAYPAL_WEBHOOK_ID": "w"}
    return read_settings(PaypalSettings, {**own, **more})


async def test_each_account_has_its_own_credentials_webhook_and_token() -> None:
    found = settings(HUB_PAYPAL_ACCOUNTS=json.dumps({"paypal-eu": OTHER}))

    eu = found.account("paypal-eu")
    assert (eu.webhook_ids, eu.client_id.get_secret_value()) == (("w2",), "c2")
    assert (found.account(None).webhook_ids, found.account_names) == (("w",), (None, "paypal-eu"))
    assert (found.account_of("paypal"), found.account_of("paypal-eu")) == (None, "paypal-eu")
    assert office_of(eu) is office_of(found.account("paypal-eu"))
    assert office_of(eu) is not office_of(found)
    assert office_of(eu).believed.webhook_ids == ("w2",)
    assert books.held("USD", "paypal-eu").code == "paypal-eu:held:USD"
    with pytest.raises(UnknownAccountError):
        found.account("paypal-us")
    assert "SECRET-2" not in repr(found)
    assert "SECRET-2" not in repr(eu)

    # What PayPal says to one of several is nothing to the others.
    for account, is_alone in ((found, True), (eu, True), (settings(), False)):
        client = office_of(account).client
        assert client.cooling.hit("ping", headers={}, debug_id="").is_alone is is_alone
        with pytest.raises(PaypalBusyError) as cooling:
            client.cooling.check()
        assert cooling.value.is_alone is is_alone
        nameless = account.model_copy(update={"client_id": SecretStr("")})
        with pytest.raises(CredentialsRefusedError) as refused:
            await PaypalClient(nameless).ask(Call("GET", "/v1/ping", "ping"))
        assert refused.value.is_alone is is_alone


@pytest.mark.parametrize(
    "accounts",
    [
        "[]",
        "{",
        {"paypal": OTHER},
        {"Paypal EU": OTHER},
        {"paypal-eu": {**OTHER, "webhook_id": ""}},
        {"paypal-eu": {**OTHER, "more": "SECRET-3"}},
        {"paypal-eu": {**OTHER, "webhook_id": "WEBHOOK_ID"}},
        {"paypal-eu": {"client_id": "c2"}},
    ],
)
def test_accounts_that_cannot_be_read_stop_the_hub_and_tell_no_secret(accounts: Any) -> None:
    text = accounts if isinstance(accounts, str) else json.dumps(accounts)

    with pytest.raises(ConfigError, match="HUB_PAYPAL_ACCOUNTS") as error:
        settings(HUB_PAYPAL_ACCOUNTS=text)
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    ("gross", "currency", "fee"),
    [
        ("20.00", "USD", "1.18"),
        ("500", "JPY", "62"),
        ("300", "TWD", "23.20"),
        ("0.10", "USD", "0.10"),
        ("5.00", "GBP", None),
    ],
)
def test_a_fee_is_estimated_by_the_price_list(gross: str, currency: str, fee: str | None) -> None:
    expected = fee_estimate(Money.parse(gross, currency), settings())

    assert expected == (Money.parse(fee, currency) if fee is not None else None)


def test_the_price_list_is_a_setting_and_a_fee_a_fifth_off_is_unusual() -> None:
    found = settings(HUB_PAYPAL_FEE_SHARE="0.039", HUB_PAYPAL_FEE_FIXED="GBP=0.20")
    assert fee_estimate(Money(1000, "GBP"), found) == Money(59, "GBP")
    assert found.fee_share == Decimal("0.039")
    with pytest.raises(ConfigError, match="FEE_FIXED"):
        settings(HUB_PAYPAL_FEE_FIXED="GBP")

    # Fees of real events: 0.44 of 4.99 USD and 0.88 of 14.90 USD; the list says 0.52 and 0.96.
    unusual = {fee: is_unusual(Money(fee, "USD"), Money(100, "USD")) for fee in (79, 80, 100, 120, 121)}
    assert unusual == {79: True, 80: False, 100: False, 120: False, 121: True}
