"""Amounts, bank times, receiving accounts, QR links and settings of SePay."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.sepay.accounts import Accounts, ReceivingAccount
from handlers.sepay.bank_values import AMOUNT_MINOR_MAX, bank_time, bank_time_text, dong
from handlers.sepay.qr import qr_url
from handlers.sepay.settings import SANDBOX_ACCOUNT, SepaySettings, first_secret
from hub.errors import ConfigError
from hub.settings import read_settings

QR_CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data/sepay/qr_url_vectors.json").read_text(encoding="utf-8")
)["cases"]
MAIN = ReceivingAccount(bank_code="BIDV", account_number="8880000001", va="96247TEST1")
OTHER = ReceivingAccount(bank_code="ACB", account_number="0000000004", default=True)


@pytest.mark.parametrize("value", [100000, Decimal("100000.0"), "100000", "100000.00"])
def test_an_amount_is_whole_dong_however_it_is_written(value: object) -> None:
    assert dong(value) == 100_000


@pytest.mark.parametrize(
    "value", [0, -1, "0", "-5", Decimal("0.5"), "1e5", "", " 1", "١٢", True, None, [], AMOUNT_MINOR_MAX + 1, "9" * 30]
)
def test_an_amount_that_is_no_positive_whole_dong_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        dong(value)


@given(st.integers(1, AMOUNT_MINOR_MAX))
def test_an_amount_survives_being_written_as_the_provider_writes_it(amount: int) -> None:
    assert dong(f"{amount}.00") == dong(Decimal(amount)) == amount


def test_bank_time_is_seven_hours_ahead_of_utc() -> None:
    assert bank_time("2024-11-15 09:35:00") == datetime(2024, 11, 15, 2, 35, tzinfo=UTC)
    assert bank_time_text(datetime(2024, 11, 14, 18, 0, tzinfo=UTC)) == "2024-11-15 01:00:00"


@pytest.mark.parametrize("value", ["15/11/2024", "2024-11-15", "2024-02-30 00:00:00", "2024-11-15T09:35:00Z", 5, None])
def test_a_date_in_another_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        bank_time(value)


def test_an_account_is_recognised_by_its_main_and_by_its_virtual_number() -> None:
    accounts = Accounts((MAIN, OTHER))

    assert accounts.receiving("8880000001", None) is MAIN
    assert accounts.receiving("0123", "96247TEST1") is MAIN
    assert accounts.receiving("", None) is None
    assert accounts.receiving("9990000000") is None


def test_the_account_for_a_payment_is_the_named_bank_s_or_the_default() -> None:
    accounts = Accounts((MAIN, OTHER))

    assert accounts.for_payment("bidv") is MAIN
    assert accounts.for_payment(None) is OTHER
    assert accounts.for_payment("VCB") is None
    assert Accounts().for_payment(None) is None


@pytest.mark.parametrize("case", QR_CASES, ids=lambda c: str(c["des"]))
def test_a_qr_link_is_built_as_the_provider_prints_it(case: dict[str, Any]) -> None:
    link = qr_url(
        account_number=case["acc"],
        bank=case["bank"],
        amount_minor=case["amount"],
        content=case["des"],
        template=case["template"],
    )

    ours, theirs = urlsplit(link), urlsplit(case["url"])
    assert ours[:3] == theirs[:3]
    assert sorted(parse_qsl(ours.query)) == sorted(parse_qsl(theirs.query))
    assert "+" not in ours.query


def settings(**environ: str) -> SepaySettings:
    return read_settings(SepaySettings, environ)


def test_accounts_come_from_the_environment() -> None:
    listed = [{"bank_code": "bidv", "bank_short_name": "BIDV", "account_number": "8880000001", "va": "96247TEST1"}]

    account = settings(SEPAY_ACCOUNTS=json.dumps(listed)).receiving.for_payment("BIDV")

    assert account is not None
    assert (account.payee_number, account.payee_name, account.qr_bank) == ("96247TEST1", "BIDV Account", "BIDV")


def test_one_account_number_stands_for_an_account_at_bidv() -> None:
    (account,) = settings(SEPAY_ACCOUNT_NUMBER="96247TEST1").receiving.listed

    assert (account.bank_code, account.account_number) == ("BIDV", "96247TEST1")


def test_the_sandbox_has_an_account_of_its_own_and_nothing_else_has(tmp_path: Path) -> None:
    assert settings().receiving.listed == ()
    assert settings(HUB_SANDBOX="1", HUB_HOME=str(tmp_path)).receiving.listed == (SANDBOX_ACCOUNT,)


def test_the_older_name_of_the_webhook_key_is_understood_and_never_shown() -> None:
    read = settings(SEPAY_API_KEY="new-key, old-key")

    assert first_secret(read.webhook_api_key) == "new-key"
    assert "new-key" not in repr(read)


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ([{"bank_code": "A1", "account_number": "111"}, {"bank_code": "B1", "account_number": "111"}], "listed twice"),
        (
            [
                {"bank_code": "A1", "account_number": "111", "default": True},
                {"bank_code": "B1", "account_number": "222", "default": True},
            ],
            "the default",
        ),
        ([{"bank_code": "A1", "account_number": "111", "iban": "x"}], "Extra inputs"),
        ("not json", "JSON list"),
    ],
)
def test_a_wrong_list_of_accounts_is_refused(listed: object, says: str) -> None:
    text = listed if isinstance(listed, str) else json.dumps(listed)

    with pytest.raises(ConfigError, match=says):
        settings(SEPAY_ACCOUNTS=text)
