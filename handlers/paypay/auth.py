"""OPA-Auth: how a call proves who makes it. The sandbox verifies with this what the SDK signs.

The header is ``hmac OPA-Auth:{api_key}:{mac}:{nonce}:{epoch}:{body_hash}``. Signed are the path without its query, the
method, the nonce, the time, the content type and the hash of the body, as they are on the wire; without a body the last
two are the word ``empty``, whatever Content-Type says. The secret is taken as text here (for tokens it is decoded).

Source: docs/providers/paypay.md, "Authentication"; https://www.paypay.ne.jp/opa/doc/v1.0/api_authorization.html.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SCHEME: Final = "hmac OPA-Auth"
EMPTY: Final = "empty"
CLOCK_S_MAX: Final = 120
"""The clocks must be closer than this."""
FIELDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """What of a request is signed, as it is on the wire; ``path`` without its query."""

    method: str
    path: str
    content_type: str
    body: bytes

    @property
    def body_hash(self) -> str:
        """MD5 of content type and body, which is what PayPay chose."""
        if not self.body:
            return EMPTY
        digest = hashlib.md5(self.content_type.encode() + self.body, usedforsecurity=False).digest()
        return base64.b64encode(digest).decode()

    def text(self, *, nonce: str, epoch: str) -> str:
        """The text to sign."""
        content_type = self.content_type if self.body else EMPTY
        return "\n".join([self.path, self.method, nonce, epoch, content_type, self.body_hash])


def authorization(request: SignedRequest, *, api_key: str, api_secret: str, nonce: str, epoch: int) -> str:
    """The header for this request."""
    mac = _mac(request, api_secret, nonce=nonce, epoch=str(epoch))
    return f"{SCHEME}:{api_key}:{mac}:{nonce}:{epoch}:{request.body_hash}"


def proven_key(
    header: str | None, request: SignedRequest, *, secrets: Mapping[str, str], now: float
) -> tuple[str, str, str] | None:
    """(API key, nonce, epoch) of who proved to be the sender; None for anybody else.

    ``secrets``: API key → its secret.
    """
    scheme, _, rest = (header or "").partition(":")
    fields = rest.split(":")
    if scheme != SCHEME or len(fields) != FIELDS or not rest.isascii():
        return None
    api_key, mac, nonce, epoch, body_hash = fields
    secret = secrets.get(api_key)
    if secret is None or not (epoch.isascii() and epoch.isdigit()) or len(epoch) > 12:
        return None
    if abs(now - int(epoch)) >= CLOCK_S_MAX:
        return None
    expected = _mac(request, secret, nonce=nonce, epoch=epoch)
    is_whole = hmac.compare_digest(body_hash.encode(), request.body_hash.encode())
    if not hmac.compare_digest(mac.encode(), expected.encode()) or not is_whole:
        return None
    return api_key, nonce, epoch


def _mac(request: SignedRequest, api_secret: str, *, nonce: str, epoch: str) -> str:
    text = request.text(nonce=nonce, epoch=epoch)
    return base64.b64encode(hmac.new(api_secret.encode(), text.encode(), hashlib.sha256).digest()).decode()
