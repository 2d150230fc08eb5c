"""Several PayPal accounts in one hub: each is a source of routing.yaml, with credentials and a webhook of its own.

The source ``paypal`` is the main account, whose settings are ``HUB_PAYPAL_CLIENT_ID`` and so on; rows of it name none.
Source: docs/providers/paypal.md, "Several accounts".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, TypeAdapter, ValidationError

from hub.errors import PermanentError

MAIN: Final = "paypal"
"""The source of the main account; its ledger accounts begin with it, those of another with that one's name."""
AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,49}$")]


class UnknownAccountError(PermanentError):
    """HUB_PAYPAL_ACCOUNTS has no account of this name (any more)."""

    def __init__(self, name: str) -> None:
        super().__init__(f"HUB_PAYPAL_ACCOUNTS names no account {name!r}")


class AccountSecrets(BaseModel):
    """What ties the hub to one more account."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    client_id: SecretStr = Field(min_length=1)
    secret: SecretStr = Field(min_length=1)
    webhook_id: SecretStr = Field(min_length=1)


_ACCOUNTS: Final = TypeAdapter(dict[AccountName, AccountSecrets])


def read_accounts(text: str) -> Mapping[str, AccountSecrets]:
    """``{"SOURCE": {"client_id": …, "secret": …, "webhook_id": …}}``. Raises ValueError, which names no secret."""
    if not text.strip():
        return {}
    try:
        found = _ACCOUNTS.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"HUB_PAYPAL_ACCOUNTS: {place}: {first['msg']}".replace(": :", ":")) from None
    if MAIN in found:
        raise ValueError(f"HUB_PAYPAL_ACCOUNTS: {MAIN} is the main account, which has variables of its own")
    return found
