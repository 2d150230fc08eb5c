"""PayPay's settings, read once at start. Source: docs/providers/paypay.md, "Configuration"."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from hub.environment import HOME_DEFAULT
from hub.settings import GENERATED, MIB, EnvironmentSettings

SANDBOX_PATH: Final = "/sandbox/paypay"
"""Where the hub itself plays PayPay under ``HUB_SANDBOX``."""
SANDBOX_KEY: Final = "hub_sandbox_api_key"
SANDBOX_MERCHANT: Final = "900000000000000001"
WALLET_TYPES: Final = ("PREPAID", "CASHBACK")


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class PayPaySettings(EnvironmentSettings):
    """Environment variables ``PAYPAY_…``. Amounts are whole yen, times are seconds."""

    model_config = SettingsConfigDict(env_prefix="PAYPAY_")

    api_key: str = ""
    api_secret: SecretStr = Field(default=SecretStr(""), json_schema_extra=GENERATED)
    merchant_id: str = ""
    merchant_name: str = ""
    """Who asks a user for the authorization; shown on PayPay's page."""
    mode: Literal["sandbox", "production"] = "sandbox"
    """Which of PayPay's two environments is called."""
    base_url: str = ""
    """Where PayPay is, instead of the address of ``mode``: for tests."""
    wallet_type: Literal["", "PREPAID", "CASHBACK"] = ""
    """What a cashback credits; must be said in production."""
    calls_max: int = Field(default=32, ge=1, le=1_000)
    """Threads that call PayPay; as many as `in_flight` of the provider in routing.yaml."""
    poll_s: float = Field(default=4.0, gt=0, le=3_600)
    """How long the hub waits between two looks at a payment that is not final."""
    refunds_max: int = Field(default=1, ge=1, le=100)
    """Refunds per payment; more than one must be allowed to the merchant by PayPay."""
    points_max: int = Field(default=0, ge=0, le=10**9)
    """The most points that one exchange may take; 0 = no limit."""
    member_points: str = Field(default="handlers.paypay.members:LedgerMembers", pattern=r"^[\w.]+:\w+$")
    """The class that knows the members and their points (``MemberPoints``); the hub's own ledger by default."""
    app_clients: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Names of the API keys that may say device APP, which pays twice as much; empty = none."""
    hints_per_s: float = Field(default=1.0, gt=0, le=1_000)
    """How many looks at PayPay all notifications together may cause, per second."""
    file_hosts: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """The hosts that transaction files may be fetched from; empty = none."""
    file_bytes_max: int = Field(default=200 * MIB, ge=1, le=2_000 * MIB)
    """The largest transaction file that is fetched."""
    file_store: str = Field(default="", pattern=r"^(|s3://[a-z0-9][a-z0-9.-]{1,62}(/.*)?|/.*)$")
    """Where transaction files are kept: a folder, or s3://BUCKET/PREFIX; empty = the folder ``files`` of HUB_HOME."""
    file_store_endpoint: str = ""
    """Where S3 is, for a store that is not Amazon's."""
    file_store_region: str = ""
    file_store_access_key_id: str = ""
    """Empty = what the environment gives (``AWS_…``, or the role of the machine)."""
    file_store_secret_access_key: SecretStr = SecretStr("")
    timezone: str = "Asia/Tokyo"
    sandbox: bool = Field(default=False, validation_alias=AliasChoices("HUB_SANDBOX"))
    hub_port: int = Field(default=8080, validation_alias=AliasChoices("HUB_PORT"))
    hub_home: Path = Field(default=Path(HOME_DEFAULT), validation_alias=AliasChoices("HUB_HOME"))

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("expected the name of a time zone such as Asia/Tokyo") from None
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mode == "production" and self.api_key and not self.wallet_type:
            raise ValueError(f"PAYPAY_WALLET_TYPE: say {' or '.join(WALLET_TYPES)} in production")
        if self.mode == "production" and self.base_url:
            raise ValueError("PAYPAY_BASE_URL is for tests: in production PayPay's own address is called")
        return self

    @property
    def key(self) -> str:
        """The API key; the sandbox's own where none is set and the sandbox is on."""
        return self.api_key or (SANDBOX_KEY if self.sandbox else "")

    @property
    def merchant(self) -> str:
        """The merchant's id; the sandbox's own where none is set and the sandbox is on."""
        return self.merchant_id or (SANDBOX_MERCHANT if self.sandbox else "")

    @property
    def is_set_up(self) -> bool:
        """Whether PayPay can be called at all."""
        return bool(self.key and self.api_secret.get_secret_value())

    @property
    def url(self) -> str | None:
        """Where PayPay is called, without a slash at its end; None means the address of ``mode``."""
        if self.base_url:
            return self.base_url.rstrip("/")
        if self.sandbox and not self.api_key:
            return f"http://127.0.0.1:{self.hub_port}{SANDBOX_PATH}"
        return None

    @property
    def store(self) -> str:
        """Where transaction files are kept: ``s3://…``, or an absolute folder."""
        return self.file_store or str(self.hub_home.expanduser().absolute() / "files")

    @property
    def credits(self) -> str:
        """``walletType`` of a cashback."""
        return self.wallet_type or "PREPAID"

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which days and months begin."""
        return ZoneInfo(self.timezone)
