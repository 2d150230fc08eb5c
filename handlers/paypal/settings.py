"""PayPal's settings, read once at start. Source: docs/providers/paypal.md, "Configuration"."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from handlers.paypal.accounts import AccountSecrets, UnknownAccountError, read_accounts
from handlers.paypal.fees import estimate, fixed_fees
from handlers.paypal.invoice_template import InvoiceTemplate
from hub.environment import HOME_DEFAULT
from hub.errors import ConfigError
from hub.money import Money
from hub.settings import GENERATED, EnvironmentSettings

Environment = Literal["sandbox", "live"]
API_HOSTS: Final = {"sandbox": "api-m.sandbox.paypal.com", "live": "api-m.paypal.com"}
"""Environment → PayPal's host for it; our credentials go to no other."""
SIMULATOR_WEBHOOK_ID: Final = "WEBHOOK_ID"
"""The literal text that PayPal's simulator signs for, whoever's URL it is told to call."""
SANDBOX_PATH: Final = "/sandbox/paypal"
TAIWAN: Final = "TW"
TRUST_DIR: Final = Path(__file__).parent / "trust"


class PaypalSettings(EnvironmentSettings):
    """Environment variables ``HUB_PAYPAL_…``, and those of who hears of every event.

    ``HUB_PAYPAL_WEBHOOK_ID`` may hold two ids, separated by a comma, while one webhook replaces the other.
    """

    model_config = SettingsConfigDict(env_prefix="HUB_PAYPAL_")

    environment: Environment = "sandbox"
    accounts: SecretStr = SecretStr("")
    """Further accounts, as JSON: source of routing.yaml → its client_id, secret and webhook_id."""
    client_id: SecretStr = Field(default=SecretStr(""), json_schema_extra=GENERATED)
    secret: SecretStr = Field(default=SecretStr(""), json_schema_extra=GENERATED)
    webhook_id: SecretStr = Field(default=SecretStr(""), json_schema_extra=GENERATED)
    """PayPal signs for any app that registers our URL: this id alone ties a signature to us. Empty: refuse all."""
    base_url: str = ""
    """Another address of PayPal's API, for a stand-in; never in live."""
    verify_mode: Literal["offline_then_api", "offline", "api"] = "offline_then_api"
    trust_dir: Path = TRUST_DIR
    """Certificates, one or more per ``.pem`` file: what signed itself is an anchor, the rest intermediates."""
    accept_simulator: bool = False
    """Record what PayPal's webhook simulator sends; in the sandbox only, and no money ever follows."""

    return_url: str = "https://shop.example/paypal/done"
    cancel_url: str = "https://shop.example/paypal/cancelled"
    brand_name: str = Field(default="", max_length=127)
    locale: str = Field(default="en-US", pattern=r"^[a-z]{2}-[A-Z]{2}$")
    merchant_country: str = Field(default="", pattern=r"^([A-Z]{2})?$")
    fee_share: Decimal = Field(default=Decimal("0.044"), ge=0, lt=1)
    fee_fixed: str = "USD=0.30,TWD=10,EUR=0.35,JPY=40"
    """PayPal's price list for payments from abroad: a share, and a fixed part by currency. For estimates only."""

    invoice_enabled: bool = True
    """Make an invoice of every payment of a subscription, marked as paid."""
    invoice_template: Path | None = None
    """A file with the texts of invoices; checked at start."""
    invoice_email: Literal["on_send", "after_payment", "never"] = "on_send"
    """When PayPal mails the invoice: before it is marked as paid, with an update after that, or not at all."""
    invoice_copy: bool = False
    """PayPal mails the seller, too."""
    invoice_refund: bool = False
    """Record on the invoice what was given back of its payment."""
    invoicer_email: str = Field(default="", max_length=254)
    """The seller's address on invoices; it must be that of the PayPal account. Empty: PayPal knows it."""

    smtp_url: SecretStr = Field(default=SecretStr(""), validation_alias=AliasChoices("HUB_SMTP_URL"))
    """``smtp://USER:PASSWORD@HOST:PORT`` (STARTTLS where offered) or ``smtps://…``; empty: no mail is sent."""
    mail_from: str = Field(default="", validation_alias=AliasChoices("HUB_MAIL_FROM"))
    mail_to: str = Field(default="", validation_alias=AliasChoices("HUB_MAIL_TO"))
    """Addresses, separated by commas."""
    slack_webhook_url: SecretStr = Field(default=SecretStr(""), validation_alias=AliasChoices("HUB_SLACK_WEBHOOK_URL"))

    sandbox: bool = Field(default=False, validation_alias=AliasChoices("HUB_SANDBOX"))
    hub_port: int = Field(default=8080, validation_alias=AliasChoices("HUB_PORT"))
    hub_home: Path = Field(default=Path(HOME_DEFAULT), validation_alias=AliasChoices("HUB_HOME"))

    _kept: dict[str, object] = PrivateAttr(default_factory=dict)
    _others: dict[str, PaypalSettings] = PrivateAttr(default_factory=dict)
    _is_sole: bool = PrivateAttr(default=True)
    _texts: InvoiceTemplate = PrivateAttr(default_factory=InvoiceTemplate)

    @field_validator("trust_dir", "hub_home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("invoice_template", mode="before")
    @classmethod
    def _file(cls, value: object) -> object:
        return Path(value).expanduser().absolute() if isinstance(value, str) and value else None

    @model_validator(mode="after")
    def _read_texts(self) -> Self:
        if self.invoice_template is not None:
            try:
                self._texts = InvoiceTemplate.load(self.invoice_template)
            except ConfigError as error:
                raise ValueError(f"HUB_PAYPAL_INVOICE_TEMPLATE: {error}") from error
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_live and self.accept_simulator:
            raise ValueError("HUB_PAYPAL_ACCEPT_SIMULATOR: anybody can have the simulator sign for us; never in live")
        if self.is_live and self.base_url:
            raise ValueError("HUB_PAYPAL_BASE_URL: live credentials go to PayPal alone")
        if self.is_live and self.sandbox:
            raise ValueError("HUB_PAYPAL_ENVIRONMENT=live: run the hub with HUB_SANDBOX=0")
        if SIMULATOR_WEBHOOK_ID in self.webhook_ids:
            raise ValueError("HUB_PAYPAL_WEBHOOK_ID: WEBHOOK_ID is what PayPal's simulator signs for, for anybody")
        url = urlsplit(self.base_url)
        is_paypal = url.scheme == "https" and url.netloc == API_HOSTS["sandbox"]
        if self.base_url and not self.sandbox and not is_paypal:
            raise ValueError(f"HUB_PAYPAL_BASE_URL: outside HUB_SANDBOX expected https://{API_HOSTS['sandbox']}")
        if bool(self.smtp_url.get_secret_value()) != bool(self.mail_to):
            raise ValueError("set HUB_SMTP_URL and HUB_MAIL_TO together, or neither")
        if self.mail_to and not self.mail_from:
            raise ValueError("HUB_MAIL_FROM: expected an address, as HUB_MAIL_TO is set")
        return self

    @model_validator(mode="after")
    def _read_accounts(self) -> Self:
        fixed_fees(self.fee_fixed)
        for name, secrets in read_accounts(self.accounts.get_secret_value()).items():
            changes = {field: getattr(secrets, field) for field in AccountSecrets.model_fields}
            other = self._others[name] = self.model_copy(update={**changes, "accounts": SecretStr("")})
            other._kept, other._others, other._is_sole = {}, {}, False
            if SIMULATOR_WEBHOOK_ID in other.webhook_ids:
                raise ValueError(f"HUB_PAYPAL_ACCOUNTS: {name}: WEBHOOK_ID is what PayPal's simulator signs for")
        self._is_sole = not self._others
        return self

    def account(self, name: str | None) -> PaypalSettings:
        """The settings of one of our accounts; None is the main one. Raises UnknownAccountError."""
        if name is None:
            return self
        if name not in self._others:
            raise UnknownAccountError(name)
        return self._others[name]

    def account_of(self, source: str) -> str | None:
        """Whose webhook a source of routing.yaml is; one that is not named belongs to the main account."""
        return source if source in self._others else None

    @property
    def account_names(self) -> tuple[str | None, ...]:
        """All of our accounts, the main one first."""
        return (None, *self._others)

    @property
    def is_sole(self) -> bool:
        """Whether this account is our only one: then what PayPal says to it concerns every call."""
        return self._is_sole

    @property
    def is_live(self) -> bool:
        return self.environment == "live"

    @property
    def is_played(self) -> bool:
        """Whether the hub plays PayPal itself: then its own certificates are believed beside PayPal's."""
        return self.sandbox and not self.is_live and urlsplit(self.base_url).netloc not in API_HOSTS.values()

    @property
    def api_url(self) -> str:
        """Where PayPal's API is, without a slash at its end; in the sandbox the hub plays it itself."""
        if self.base_url:
            return self.base_url.rstrip("/")
        if self.is_played:
            return f"http://127.0.0.1:{self.hub_port}{SANDBOX_PATH}"
        return f"https://{API_HOSTS[self.environment]}"

    @property
    def webhook_ids(self) -> tuple[str, ...]:
        """Ours; the first is the one that the sandbox signs for."""
        return tuple(part.strip() for part in self.webhook_id.get_secret_value().split(",") if part.strip())

    @property
    def invoice_texts(self) -> InvoiceTemplate:
        """What the template says, as it was at start."""
        return self._texts

    @property
    def sandbox_dir(self) -> Path:
        """Where the sandbox keeps what it makes up."""
        return self.hub_home / "sandbox" / "paypal"

    @property
    def kept(self) -> dict[str, object]:
        """What this process holds towards PayPal (token, certificates); it lives and dies with one hub's settings."""
        return self._kept


def fee_estimate(gross: Money, settings: PaypalSettings) -> Money | None:
    """What PayPal's price list says that this payment costs; None where it has no such currency."""
    return estimate(gross, share=settings.fee_share, fixed=fixed_fees(settings.fee_fixed))
