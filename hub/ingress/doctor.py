"""What is wrong with a webhook that is refused: plain sentences that tell the operator what to change.

For ``hub doctor webhook``. It tries what senders and operators commonly get wrong, first one change, then two. It is
never run on live traffic, and its answers name secrets by number, never by value.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from hub.errors import ConfigError, UnreadableError
from hub.ingress.authentication import Request
from hub.ingress.keys import API_KEY_PARAMETERS, equal
from hub.ingress.parameters import Parameters
from hub.ingress.schemes import SchemeRegistry
from hub.ingress.signatures import (
    HMAC_PARAMETERS,
    SignatureForm,
    clock_problem,
    decode,
    is_standard,
    read_form,
    secret_bytes,
    standard_secret,
)
from hub.jsonbody import parse_json

CHANGES_MAX = 2
"""How many mistakes at once are looked for."""
_SIGNATURE_NAME = re.compile(r"sign|hmac|digest")
_TEMPLATES = ("{body}", "{timestamp}.{body}", "{timestamp}{body}", "{timestamp}:{body}", "{id}.{timestamp}.{body}")

Change = str
"""What differs from the configuration, as a sentence; empty for "as configured"."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence for the operator. ``ok`` is false where something must be changed."""

    ok: bool
    text: str


def diagnose(
    auth: Mapping[str, object], request: Request, now: datetime, registry: SchemeRegistry | None = None
) -> list[Finding]:
    """Judge ``request`` by ``auth`` (as under ``auth:`` in routing.yaml), then say what to change.

    The last finding is the verdict that the live endpoint would give at ``now``.
    """
    try:
        decision = (registry or SchemeRegistry()).build(auth).decide(request, now)
    except ConfigError as error:
        return [Finding(False, f"routing.yaml: {problem.message}") for problem in error.problems]
    findings: list[Finding] = []
    values = {name: value for name, value in auth.items() if name != "scheme"}
    if auth.get("scheme") == "hmac":
        findings += _SignatureDoctor(values, request, now).findings()
    elif auth.get("scheme") == "api_key":
        findings += list(_api_key(values, request))
    if decision.verdict is None:
        return [*findings, Finding(False, f"The request is refused: {decision.reason}.")]
    return [*findings, Finding(True, f"The request is accepted ({decision.verdict}): {decision.reason}.")]


def _api_key(values: Mapping[str, object], request: Request) -> Iterator[Finding]:
    parameters = Parameters("api_key", values, API_KEY_PARAMETERS)
    header = parameters.text("header", "authorization").strip().lower()
    prefix = parameters.text("prefix").strip()
    secrets = parameters.secrets()
    if not secrets:
        yield Finding(False, "No secret is configured: set the variable that routing.yaml names under auth: secret.")
        return
    value = request.headers.get(header)
    for number, secret in enumerate(secrets, start=1):
        for name, other in request.headers.items():
            if name != header and secret in other:
                yield Finding(False, f"Secret {number} arrives in the header {name}: set header: {name}.")
    if value is None:
        yield Finding(False, f"The header {header} is missing: switch API key authentication on at the sender.")
        return
    word, _, rest = value.strip().partition(" ")
    key = (rest if prefix else value).strip()
    if prefix and word.lower() != prefix.lower():
        found = f"begins with the word {word!r}" if rest else "has no word before the key"
        yield Finding(False, f"The header {header} {found}, expected {prefix!r}: change prefix, or the sender.")
        key = (rest or value).strip()
    yield from _compare_keys(key, secrets)


def _compare_keys(key: str, secrets: tuple[str, ...]) -> Iterator[Finding]:
    for number, secret in enumerate(secrets, start=1):
        if equal(key, secret):
            yield Finding(True, f"Secret {number} matches.")
            return
        if equal(key.strip("\"'"), secret.strip("\"'")):
            yield Finding(False, f"Secret {number} matches but for quotation marks: remove them where they are.")
        elif equal(key.lower(), secret.lower()):
            yield Finding(False, f"Secret {number} matches but for upper and lower case.")
        elif len(key) >= 8 and (secret.startswith(key) or key.startswith(secret)):
            yield Finding(False, f"Secret {number} and the key begin alike: one of them was cut when it was copied.")
    yield Finding(False, f"The key matches none of the {len(secrets)} secrets: copy it again from the sender's page.")


class _SignatureDoctor:
    """Tries the signature against near misses of the configuration."""

    def __init__(self, values: Mapping[str, object], request: Request, now: datetime) -> None:
        parameters = Parameters("hmac", values, HMAC_PARAMETERS)
        self._form = read_form(parameters, values)
        self._encoding = parameters.text("secret_encoding", "text")
        self._standard = is_standard(values)
        self._raw_secrets = [secret for secret in parameters.raw_secrets() if secret.strip()]
        self._request = request
        self._now = now

    def findings(self) -> list[Finding]:
        if not self._raw_secrets:
            return [Finding(False, "No secret is configured: set the variable that routing.yaml names.")]
        missing = list(self._missing_headers())
        if self._form.signature_header not in self._request.headers:
            return missing
        return [*missing, *self._signature(), *self._clock()]

    def _missing_headers(self) -> Iterator[Finding]:
        form, headers = self._form, self._request.headers
        if form.signature_header not in headers:
            looks = sorted(name for name in headers if _SIGNATURE_NAME.search(name))
            hint = f" The request carries {', '.join(looks)}: set signature_header to the right one." if looks else ""
            yield Finding(
                False, f"The header {form.signature_header} is missing.{hint or ' The sender does not sign.'}"
            )
        for parameter, name in (("timestamp_header", form.timestamp_header), ("id_header", form.id_header)):
            if name and name not in headers:
                looks = sorted(other for other in headers if parameter.partition("_")[0] in other)
                hint = f" The request carries {', '.join(looks)}." if looks else ""
                yield Finding(False, f"The header {name} ({parameter}) is missing.{hint}")

    def _clock(self) -> Iterator[Finding]:
        problem = clock_problem(self._request, self._form, self._now)
        if problem:
            yield Finding(
                False,
                f"{problem[0].upper()}{problem[1:]}: check the clock of this machine and the sender's (NTP);"
                " an old request that was captured for this test is no fault.",
            )

    def _signature(self) -> Iterator[Finding]:
        digests = list(self._written())
        if not digests:
            yield Finding(False, f"The header {self._form.signature_header} holds neither hex nor base64.")
            return
        found = self._search(digests)
        if found is None:
            yield Finding(
                False,
                f"No secret gives this signature (secrets tried: {len(self._raw_secrets)}), nor does any common mistake"
                " explain it: copy the secret again from the sender's page, and make sure that no proxy changes the"
                " body.",
            )
            return
        number, changes = found
        if not changes:
            yield Finding(True, f"Secret {number} gives this signature.")
        for change in changes:
            yield Finding(False, f"Secret {number} gives this signature, but: {change}")

    def _search(self, digests: list[tuple[bytes, Change]]) -> tuple[int, list[Change]] | None:
        """The explanation with the fewest changes."""
        bodies, forms = list(self._bodies()), list(self._forms())
        for number, raw in enumerate(self._raw_secrets, start=1):
            candidates = itertools.product(list(self._keys(raw)), bodies, forms, digests)
            ranked = sorted(candidates, key=lambda parts: sum(1 for _, change in parts if change))
            for (key, *key_change), (body, *body_change), (form, *form_change), (digest, *written) in ranked:
                changes = [change for change in (*key_change, *body_change, *form_change, *written) if change]
                if len(changes) > CHANGES_MAX:
                    break
                message = form.message(replace(self._request, body=body))
                if hmac.compare_digest(_digest(form, key, message), digest):
                    return number, changes
        return None

    def _written(self) -> Iterator[tuple[bytes, Change]]:
        form = self._form
        header = self._request.headers[form.signature_header]
        for candidate in [header.strip(), *header.split()][:16]:
            has_prefix = candidate.startswith(form.prefix)
            bare = candidate[len(form.prefix) :] if has_prefix else candidate
            change = "" if has_prefix else f"the prefix {form.prefix!r} is missing before it; set prefix accordingly."
            other = "base64" if form.encoding == "hex" else "hex"
            options = {form.encoding: change, other: change or f"it is written in {other}; set encoding: {other}."}
            for text in dict.fromkeys((bare, re.split(r"[=,]", bare, maxsplit=1)[-1])):
                for encoding, sentence in options.items():
                    digest = decode(text, encoding)
                    if digest and len(digest) >= 16:
                        prefix = candidate.removesuffix(text)
                        yield digest, sentence if text == bare else f"it is written with the prefix {prefix!r}."

    def _keys(self, raw: str) -> Iterator[tuple[bytes, Change]]:
        trimmed = raw.strip()
        configured = standard_secret(trimmed) if self._standard else secret_bytes(trimmed, self._encoding)
        if configured:
            yield configured, ""
        text = "the sender uses the secret as text"
        if trimmed != raw:
            yield raw.encode(), f"{text}, with the white space around it; remove that at the sender."
        yield trimmed.encode(), f"{text}; set secret_encoding: text."
        yield f"{trimmed}\n".encode(), "the sender's secret ends in a line break; remove it there."
        for prefix, encoding in itertools.product(("", "whsec_"), ("base64", "hex")):
            key = decode(trimmed.removeprefix(prefix), encoding)
            if key:
                yield key, f"the sender decodes the secret as {encoding}; set secret_encoding: {encoding}."
        if trimmed.startswith("whsec_"):
            yield trimmed.removeprefix("whsec_").encode(), "the sender signs with the secret without its whsec_."

    def _bodies(self) -> Iterator[tuple[bytes, Change]]:
        body = self._request.body
        yield body, ""
        yield body.rstrip(b"\r\n"), "the body had no line break at its end when it was signed."
        yield body + b"\n", "the body had a line break at its end when it was signed."
        if body.count(b"\r\n"):
            yield body.replace(b"\r\n", b"\n"), "the body's line breaks were changed on the way (LF to CRLF)."
        try:
            parse_json(body)
        except UnreadableError:
            return
        said = "the body was written anew on the way; it was signed as"
        data = json.loads(body)
        for separators, name in (((",", ":"), "compact"), ((", ", ": "), "spaced")):
            for is_ascii, escapes in ((False, ""), (True, " with \\u escapes")):
                text = json.dumps(data, separators=separators, ensure_ascii=is_ascii)
                yield text.encode(), f"{said} {name} JSON{escapes}. Find the proxy or program that does so."

    def _forms(self) -> Iterator[tuple[SignatureForm, Change]]:
        form = self._form
        yield form, ""
        for name in ("sha256", "sha512"):
            if name != form.hash:
                yield replace(form, hash=name), f"the hash is {name}; set hash: {name}."
        yield replace(form, hash="sha1"), "the hash is SHA-1, which the hub does not accept; choose another there."
        for template in _TEMPLATES:
            if template != form.template:
                unsigned = "" if "{timestamp}" in template else " (the time stamp is then not protected)"
                yield replace(form, template=template), f"it covers {template}{unsigned}; set template accordingly."


def _digest(form: SignatureForm, key: bytes, message: bytes) -> bytes:
    if form.hash == "sha1":
        return hmac.new(key, message, hashlib.sha1).digest()
    return form.digest(key, message)
