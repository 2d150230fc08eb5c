"""The scheme ``hmac``: a keyed hash over the raw body, in the Standard Webhooks form or as configured.

Source: Standard Webhooks 1.0 (github.com/standard-webhooks); the configurable form covers what most senders do.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from hub.event import Verdict
from hub.ingress.authentication import Decision, Request, Scheme, refused
from hub.ingress.parameters import Parameters

TOLERANCE_S = 300
TOLERANCE_S_MAX = 86_400
SIGNATURES_MAX = 16
"""How many signatures of one header are looked at."""

HASHES = ("sha256", "sha512")
PLACEHOLDERS = ("timestamp", "id", "body", "method", "path")
HMAC_PARAMETERS = (
    "style",
    "secret",
    "secret_encoding",
    "signature_header",
    "timestamp_header",
    "id_header",
    "prefix",
    "encoding",
    "hash",
    "template",
    "tolerance_s",
)
STANDARD_PREFIX = "whsec_"
BODY_ALONE = "{body}"
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_SECONDS = re.compile(r"[0-9]{1,12}")

Encoding = Literal["hex", "base64"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureForm:
    """Where the signature is, how it is written and what it covers."""

    signature_header: str
    timestamp_header: str
    id_header: str
    prefix: str
    encoding: Encoding
    hash: str
    template: str
    tolerance_s: int
    many: bool = False

    def message(self, request: Request) -> bytes:
        """The bytes that are signed: the template with its placeholders filled, the body raw."""
        if self.template == BODY_ALONE:
            return request.body
        values: dict[str, bytes] = {
            "timestamp": self._header(request, self.timestamp_header),
            "id": self._header(request, self.id_header),
            "method": request.method.encode(),
            "path": request.path.encode("utf-8", "surrogateescape"),
            "body": request.body,
        }
        # Odd parts are the names of placeholders; a body that holds "{id}" is never looked into.
        parts = _PLACEHOLDER.split(self.template)
        return b"".join(values[part] if odd % 2 else part.encode() for odd, part in enumerate(parts))

    def digest(self, secret: bytes, message: bytes) -> bytes:
        """The signature that ``secret`` gives."""
        return hmac.digest(secret, message, self.hash)

    def given(self, header: str) -> list[bytes]:
        """The signatures in the header that are written as agreed."""
        candidates = header.split()[:SIGNATURES_MAX] if self.many else [header.strip()]
        found = []
        for candidate in candidates:
            if candidate.startswith(self.prefix):
                digest = decode(candidate[len(self.prefix) :], self.encoding)
                if digest is not None:
                    found.append(digest)
        return found

    @staticmethod
    def _header(request: Request, name: str) -> bytes:
        return request.headers.get(name, "").strip().encode("utf-8", "surrogateescape")


STANDARD_WEBHOOKS = SignatureForm(
    signature_header="webhook-signature",
    timestamp_header="webhook-timestamp",
    id_header="webhook-id",
    prefix="v1,",
    encoding="base64",
    hash="sha256",
    template="{id}.{timestamp}.{body}",
    tolerance_s=TOLERANCE_S,
    many=True,
)


MATCHES = Decision(Verdict.VALID, "the signature matches")


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """Accepts a request whose signature one of the secrets gives, and whose timestamp is near. No secret: nobody."""

    form: SignatureForm
    secrets: tuple[bytes, ...] = field(default=(), repr=False)

    def decide(self, request: Request, now: datetime) -> Decision:
        form = self.form
        if not self.secrets:
            return refused("no secret is configured, so every request is refused")
        for name in (form.signature_header, form.timestamp_header, form.id_header):
            if name and not request.headers.get(name, "").strip():
                return refused(f"the header {name} is missing")
        given = form.given(request.headers[form.signature_header])
        if not given:
            return refused(f"the header {form.signature_header} is not {form.prefix!r} followed by {form.encoding}")
        message = form.message(request)
        matches = [
            hmac.compare_digest(form.digest(secret, message), digest) for secret in self.secrets for digest in given
        ]
        if not any(matches):
            return refused("the signature matches no secret")
        # Judged after the signature, so that "the clock is off" is said only of a sender who is proven.
        late = clock_problem(request, form, now)
        return refused(late) if late else MATCHES

    @property
    def headers_secret(self) -> frozenset[str]:
        """The header with the signature: of no use later, and enough to repeat the request for a while."""
        return frozenset({self.form.signature_header})


def clock_problem(request: Request, form: SignatureForm, now: datetime) -> str:
    """Why the timestamp is refused; empty when it is near enough or not part of the form."""
    if not form.timestamp_header:
        return ""
    value = request.headers.get(form.timestamp_header, "").strip()
    if not _SECONDS.fullmatch(value):
        return f"the header {form.timestamp_header} is not a number of seconds"
    behind_s = int(now.timestamp()) - int(value)
    if abs(behind_s) <= form.tolerance_s:
        return ""
    side = "in the past" if behind_s > 0 else "in the future"
    return f"the timestamp is {abs(behind_s)} s {side}, more than the {form.tolerance_s} s that are allowed"


def hmac_signature(values: Mapping[str, object]) -> Scheme:
    """Build ``hmac``. ``style: standard-webhooks`` fixes everything but the secrets and the tolerance."""
    parameters = Parameters("hmac", values, HMAC_PARAMETERS)
    form = read_form(parameters, values)
    encoding = parameters.choice("secret_encoding", ("text", "base64", "hex"), "text")
    secrets = []
    for number, secret in enumerate(parameters.secrets(), start=1):
        data = standard_secret(secret) if is_standard(values) else secret_bytes(secret, encoding)
        if data is None:
            expected = f"{STANDARD_PREFIX} and base64" if is_standard(values) else encoding
            parameters.complain(f"secret: expected {expected} (number {number} of those given)")
        else:
            secrets.append(data)
    parameters.finish()
    return HmacScheme(form, tuple(secrets))


def is_standard(values: Mapping[str, object]) -> bool:
    """Whether the parameters ask for the Standard Webhooks form."""
    return values.get("style", "configured") == "standard-webhooks"


def read_form(parameters: Parameters, values: Mapping[str, object]) -> SignatureForm:
    """The form that the parameters describe; mistakes are noted in ``parameters``."""
    style = parameters.choice("style", ("standard-webhooks", "configured"), "configured")
    tolerance_s = parameters.whole("tolerance_s", TOLERANCE_S, low=1, high=TOLERANCE_S_MAX)
    if style == "standard-webhooks":
        for name in sorted(values.keys() & set(HMAC_PARAMETERS) - {"style", "secret", "tolerance_s"}):
            parameters.complain(f"{name}: is fixed by style: standard-webhooks")
        return replace(STANDARD_WEBHOOKS, tolerance_s=tolerance_s)
    timestamp_header = parameters.text("timestamp_header").strip().lower()
    form = SignatureForm(
        signature_header=parameters.text("signature_header").strip().lower(),
        timestamp_header=timestamp_header,
        id_header=parameters.text("id_header").strip().lower(),
        prefix=parameters.text("prefix"),
        encoding="base64" if parameters.choice("encoding", ("hex", "base64"), "hex") == "base64" else "hex",
        hash=parameters.choice("hash", HASHES, "sha256"),
        template=parameters.text("template", "{timestamp}.{body}" if timestamp_header else "{body}"),
        tolerance_s=tolerance_s,
    )
    _check(form, parameters)
    return form


def _check(form: SignatureForm, parameters: Parameters) -> None:
    if not form.signature_header:
        parameters.complain("signature_header: expected the name of a header")
    used = _PLACEHOLDER.findall(form.template)
    for name in used:
        if name not in PLACEHOLDERS:
            parameters.complain(f"template: expected placeholders out of {', '.join(PLACEHOLDERS)}, found {{{name}}}")
    if "body" not in used:
        parameters.complain("template: expected {body} in it, or the body is not protected")
    for name, header in (("timestamp", form.timestamp_header), ("id", form.id_header)):
        if (name in used) != bool(header):
            parameters.complain(f"template: {{{name}}} and {name}_header go together; expected both or neither")


def decode(text: str, encoding: str) -> bytes | None:
    """The bytes of a signature or secret written in hex or base64; None when it is not written so."""
    try:
        if encoding == "base64":
            return base64.b64decode(text, validate=True)
        # fromhex passes over white space, which is not part of the agreed form.
        return bytes.fromhex(text) if text.isalnum() else None
    except (binascii.Error, ValueError):
        return None


def standard_secret(secret: str) -> bytes | None:
    """The key in a Standard Webhooks secret: base64 after ``whsec_``."""
    return decode(secret.removeprefix(STANDARD_PREFIX), "base64") or None


def secret_bytes(secret: str, encoding: str) -> bytes | None:
    """The key in a secret that is text, base64 or hex."""
    # A variable of the environment may hold bytes that are no UTF-8: those bytes are the key.
    return secret.encode("utf-8", "surrogateescape") if encoding == "text" else decode(secret, encoding) or None
