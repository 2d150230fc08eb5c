"""Authorization ids on their way through events: sealed, so that nobody reads them where events are shown or kept.

An event's payload is stored as it is, and what the hub makes itself has no source that could mask it. The key comes
from the API secret: after a change of it what was sealed before is lost, and the next notification says it again.
Source: docs/providers/paypay.md, "Linking an account".
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.fernet import Fernet, InvalidToken

if TYPE_CHECKING:
    from handlers.paypay.settings import PayPaySettings

PURPOSE: Final = b"paypay user authorization id\0"


def sealed(user_authorization_id: str, settings: PayPaySettings) -> str:
    """The id as text that only this hub can read."""
    return _box(settings).encrypt(user_authorization_id.encode()).decode()


def opened(text: str, settings: PayPaySettings) -> str | None:
    """What was sealed; None where that was done with another secret."""
    try:
        return _box(settings).decrypt(text.encode()).decode()
    except (InvalidToken, ValueError):
        return None


def _box(settings: PayPaySettings) -> Fernet:
    secret = settings.api_secret.get_secret_value().encode()
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(PURPOSE + secret).digest()))
