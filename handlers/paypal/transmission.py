"""What PayPal's headers say about one delivery of a webhook, read but not yet believed.

Source: https://developer.paypal.com/api/rest/webhooks/rest/, "Validate".
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hub.errors import HubError

REQUIRED: Final = (
    "paypal-transmission-id",
    "paypal-transmission-time",
    "paypal-transmission-sig",
    "paypal-cert-url",
    "paypal-auth-algo",
)
KEPT: Final = frozenset({*REQUIRED, "paypal-auth-version"})
"""Kept with the event: it is proven later, and perhaps again after a fix."""
ALGORITHM: Final = "SHA256withRSA"
"""The only one. SHA1withRSA ended in 2015; a header must never choose."""


class NotSignedError(HubError):
    """The delivery cannot be genuine, whatever certificate it names; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transmission:
    """One delivery: its id and time as text, where its certificate is, its signature, and the body that it signs."""

    id: str
    time: str
    cert_url: str
    algorithm: str
    signature_text: str = field(repr=False)
    body: bytes = field(repr=False)

    @classmethod
    def read(cls, headers: Mapping[str, str], body: bytes) -> Transmission:
        """From headers in any case. Raises NotSignedError when one that is required is missing or empty."""
        lower = {name.lower(): value for name, value in headers.items()}
        for name in REQUIRED:
            # Blanks of any script are nothing: they are not kept with the event, whose identity needs each of these.
            if not lower.get(name, "").strip():
                raise NotSignedError(f"the header {name} is missing")
        return cls(
            id=lower["paypal-transmission-id"],
            time=lower["paypal-transmission-time"],
            cert_url=lower["paypal-cert-url"],
            algorithm=lower["paypal-auth-algo"],
            signature_text=lower["paypal-transmission-sig"],
            body=body,
        )

    def signature(self) -> bytes:
        """The signature's bytes. Raises NotSignedError when it is not strict base64."""
        try:
            return base64.b64decode(self.signature_text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise NotSignedError("the signature is not base64") from error

    def message(self, webhook_id: str) -> bytes:
        """The bytes that PayPal signs for this webhook. Raises NotSignedError for a header that is not ASCII."""
        # Nothing is trimmed or written anew: zeros, spaces and the order of keys are part of what was signed.
        try:
            return f"{self.id}|{self.time}|{webhook_id}|{zlib.crc32(self.body)}".encode("ascii")
        except UnicodeEncodeError as error:
            raise NotSignedError("the transmission's id or time is not ASCII") from error
