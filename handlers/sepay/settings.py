"""SePay's settings, read once at start. Source: docs/providers/sepay.md, "Configuration"."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from handlers.sepay.accounts import Accounts, ReceivingAccount, check_accounts
from handlers.sepay.bank_values import AMOUNT_MINOR_MAX
from handlers.sepay.qr import QR_BASE
from hub.settings import GENERATED, EnvironmentSettings

INTENT_MINUTES_MAX: Final = 1440
API_HOSTS: Final = {"1": "my.sepay.vn", "2": "userapi.sepay.vn"}
"""Version of the transaction list → SePay's host for it; the token goes to no other."""
SANDBOX_PATH: Final = "/sandbox/sepay"
SANDBOX_ACCOUNT: Final = ReceivingAccount(
    bank_code="BIDV", bank="BIDV", account_number="8880000001", va="96247SANDBOX", default=True
)
"""What ``make run`` receives money on when no account is configured: no bank has it."""


def _json_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError("expected a JSON list of accounts") from error


class SepaySettings(EnvironmentSettings):
    """Environment variables ``SEPAY_…``. Amounts are whole dong.

    ``SEPAY_ACCOUNTS`` is a JSON list of receiving accounts; ``SEPAY_ACCOUNT_NUMBER`` is short for one account at BIDV.
    Secrets may hold two values, separated by a comma, while one is being replaced by the other.
    """

    model_config = SettingsConfigDict(env_prefix="SEPAY_")

    webhook_auth: Literal["apikey", "hmac", "oauth2", "none"] = "apikey"
    """How the sandbox proves itself; must say what ``auth:`` of the source in routing.yaml says."""
    webhook_api_key: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=AliasChoices("SEPAY_WEBHOOK_API_KEY", "SEPAY_API_KEY"),
        json_schema_extra=GENERATED,
    )
    webhook_secret: SecretStr = SecretStr("")
    oauth_client_id: str = ""
    oauth_client_secret: SecretStr = SecretStr("")
    oauth_token_seconds: int = Field(default=3_600, ge=60, le=86_400)
    """How long a token is good that SePay fetches from us."""
    webhook_reply: Literal["minimal", "verbose"] = "minimal"
    """verbose adds the guide's four fields to the answer to a webhook, for tests; SePay wants ``success`` alone."""
    allowed_ips: str = ""
    """From where webhooks may come, separated by commas; read by routing.yaml, empty = from anywhere."""
    callback_enabled: bool = False
    """Whether ``POST /api/seapay/callback`` is there at all."""
    api_token: SecretStr = Field(default=SecretStr(""), json_schema_extra=GENERATED)
    """For the transaction list; without it nothing is polled."""
    api_version: Literal["1", "2"] = "1"
    api_base: str = ""
    """Where the transaction list is; only SePay's own hosts, except in the sandbox."""
    poll_overlap_hours: int = Field(default=6, ge=1, le=24 * 31)
    """How far each poll looks back behind the last one that succeeded: further than SePay repeats a webhook."""
    accounts: Annotated[tuple[ReceivingAccount, ...], BeforeValidator(_json_list)] = ()
    account_number: str = ""
    content_form: Literal["normalised", "stored"] = "normalised"
    late_policy: Literal["review", "credit_wallet"] = "review"
    expiry_grace_seconds: int = Field(default=60, ge=0, le=86_400)
    intent_minutes: int = Field(default=60, ge=1, le=INTENT_MINUTES_MAX)
    intents_per_minute_max: int = Field(default=10, ge=0, le=100_000)
    """How many intents one user may open within a minute; 0 = no limit."""
    min_amount: int = Field(default=2_000, ge=1, le=AMOUNT_MINOR_MAX)
    max_topup: int = Field(default=100_000_000, ge=1, le=AMOUNT_MINOR_MAX)
    expires_soon_days: int = Field(default=7, ge=0, le=365)
    """A licence that ends within so many days expires soon."""
    trust_client_price: bool = False
    """Take the client's price instead of the catalogue's; for development only."""
    requests_per_minute_max: int = Field(default=600, ge=0, le=1_000_000)
    """How many requests of its own one user may send within a minute; 0 = no limit."""
    qr_base: str = QR_BASE
    deep_link_template: str = ""
    sandbox: bool = Field(default=False, validation_alias=AliasChoices("HUB_SANDBOX"))
    hub_port: int = Field(default=8080, validation_alias=AliasChoices("HUB_PORT"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.accounts and self.account_number:
            raise ValueError("set SEPAY_ACCOUNTS or SEPAY_ACCOUNT_NUMBER, not both")
        if self.min_amount > self.max_topup:
            raise ValueError("SEPAY_MIN_AMOUNT is above SEPAY_MAX_TOPUP")
        check_accounts(self.accounts)
        url = urlsplit(self.api_base)
        if self.api_base and not self.sandbox and (url.scheme != "https" or url.netloc not in API_HOSTS.values()):
            raise ValueError(
                f"SEPAY_API_BASE: the token may only go to https://{' or https://'.join(API_HOSTS.values())}"
            )
        return self

    @property
    def api_url(self) -> str:
        """Where the transaction list is, without a slash at its end; in the sandbox the hub plays it itself."""
        if self.api_base:
            return self.api_base.rstrip("/")
        if self.sandbox:
            return f"http://127.0.0.1:{self.hub_port}{SANDBOX_PATH}"
        return f"https://{API_HOSTS[self.api_version]}"

    @property
    def receiving(self) -> Accounts:
        """Our accounts; the sandbox's own when none is configured and the sandbox is on."""
        if self.accounts:
            return Accounts(self.accounts)
        if self.account_number:
            return Accounts((ReceivingAccount(bank_code="BIDV", account_number=self.account_number),))
        return Accounts((SANDBOX_ACCOUNT,)) if self.sandbox else Accounts()


def first_secret(secret: SecretStr) -> str:
    """The secret that signs: the first of the values that verify."""
    return secret.get_secret_value().split(",")[0].strip()
