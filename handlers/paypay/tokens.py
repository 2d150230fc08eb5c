"""The token that PayPay gives a member who comes back from its page: signed with our secret, and read with PyJWT.

The SDK's own reader refuses every token with today's PyJWT. The key is the API secret *decoded* from base64, while the
same secret signs requests as plain text. Source: docs/providers/paypay.md, "Linking an account".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import UTC, datetime
from typing import Any, Final

import jwt
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from handlers.paypay.settings import PayPaySettings
from hub.errors import RefusedCommand

ISSUER: Final = "paypay.ne.jp"
ALGORITHM: Final = "HS256"
KEY_BYTES_MIN: Final = 32
CLAIMS: Final = ("exp", "aud", "iss", "nonce", "referenceId", "result")


class ResponseToken(BaseModel):
    """What a token says whose signature, audience and issuer hold. Whether it fits a session is not known yet."""

    model_config = ConfigDict(frozen=True)

    result: str
    nonce: str
    reference_id: str
    user_authorization_id: str | None
    profile_identifier: str | None
    expires_at: AwareDatetime
    token_hash: str


def read_token(token: str, settings: PayPaySettings) -> ResponseToken:
    """The claims of a response token. Raises RefusedCommand (TOKEN_REFUSED), which never quotes it."""
    key = token_key(settings.api_secret.get_secret_value())
    if key is None or not settings.key:
        raise refused_token("PAYPAY_API_KEY or PAYPAY_API_SECRET cannot be used")
    try:
        # The time is the hub's own clock's to judge, by whoever knows the session.
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=settings.key,
            issuer=ISSUER,
            options={"require": list(CLAIMS), "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        return _token(token, claims)
    except (jwt.PyJWTError, ValidationError, ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise refused_token(type(error).__name__) from None


def token_key(secret: str) -> bytes | None:
    """The key that tokens are signed with; None for a secret that is no base64."""
    try:
        key = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        return None
    # HMAC pads short keys with zeros anyway; done here, the library does not warn about them.
    return key.ljust(KEY_BYTES_MIN, b"\0") if key else None


def refused_token(why: str) -> RefusedCommand:
    """The one answer to every token that does not hold."""
    return RefusedCommand("TOKEN_REFUSED", f"the response token is refused: {why}")


def _token(token: str, claims: dict[str, Any]) -> ResponseToken:
    expires = claims["exp"]
    if type(expires) is not int:
        raise TypeError("exp")
    return ResponseToken.model_validate(
        {
            "result": claims["result"],
            "nonce": claims["nonce"],
            "reference_id": claims["referenceId"],
            "user_authorization_id": claims.get("userAuthorizationId") or None,
            "profile_identifier": claims.get("profileIdentifier") or None,
            "expires_at": datetime.fromtimestamp(expires, UTC),
            "token_hash": hashlib.sha256(token.encode()).hexdigest(),
        }
    )
