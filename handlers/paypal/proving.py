"""Proving one delivery: its certificate, its signature, and where that does not decide, PayPal's own word.

Source: docs/providers/paypal.md, "How a webhook is proven"; Notifications v1, "verify-webhook-signature".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from handlers.paypal.certificates import RENEWED_AFTER, CertificateUnavailableError, Kept
from handlers.paypal.client import CALL_S_MAX, Call, NoAnswerError
from handlers.paypal.office import Office, office_of
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import PaypalCertificate
from handlers.paypal.transmission import NotSignedError, Transmission
from handlers.paypal.verifying import Judgement
from hub.calls.outcome import NotFound, Outcome, Settled, Unknown
from hub.errors import RetryableError, UnreadableError
from hub.event import Event, stable_hash
from hub.jsonbody import parse_json

if TYPE_CHECKING:
    from hub.deliver.context import Context

VERIFY_PATH: Final = "/v1/notifications/verify-webhook-signature"
FETCH_CALL_S_MAX: Final = 10.0


class Proof:
    """Proving the event of one delivery to one of our accounts.

    ``fetched`` is a certificate that others should not have to fetch again.
    """

    def __init__(self, event: Event, settings: PaypalSettings, ctx: Context) -> None:
        self._event = event
        self._ctx = ctx
        self._settings = settings
        self._office: Office = office_of(self._settings)
        self.fetched: Kept | None = None

    async def judgement(self) -> Judgement:
        """The verdict; *undecided* only where neither the certificate nor PayPal's API could tell now."""
        mode = self._settings.verify_mode
        try:
            transmission = Transmission.read(self._event.headers, self._event.payload)
            self._office.believed.signer_environment(transmission)
        except NotSignedError as error:
            return Judgement("invalid", str(error))
        found = Judgement("undecided", "not looked at offline")
        if mode != "api":
            found = await self._offline(transmission)
        if found.verdict == "undecided" and mode != "offline":
            found = await self._by_api(transmission, found)
        return self._readable(found)

    async def _offline(self, transmission: Transmission) -> Judgement:
        believed, received_at = self._office.believed, self._event.received_at
        try:
            kept = await self._certificate("certificate", transmission.cert_url)
            found = believed.judge(transmission, kept.pem, received_at)
            if found.may_be_renewed and self._ctx.now - kept.fetched_at > RENEWED_AFTER:
                # The same address may have a new certificate by now.
                kept = await self._certificate("certificate-again", transmission.cert_url, newer_than=kept.fetched_at)
                found = believed.judge(transmission, kept.pem, received_at)
        except CertificateUnavailableError as error:
            return Judgement("undecided", str(error))
        if found.verdict in ("valid", "simulated"):
            self.fetched = kept
        return found

    async def _certificate(self, step: str, url: str, *, newer_than: datetime | None = None) -> Kept:
        certificates, ctx = self._office.certificates, self._ctx
        known = certificates.known(url, ctx.now)
        if known is None:
            async with ctx.reading() as session:
                row = await session.get(PaypalCertificate, url)
            if row is not None:
                certificates.remember(url, Kept(row.pem.encode(), row.fetched_at))
                known = certificates.known(url, ctx.now)
        if known is not None and (newer_than is None or known.fetched_at > newer_than):
            return known

        async def fetch(request: Mapping[str, Any], key: str) -> Outcome:
            try:
                kept = await certificates.get(url, ctx.now, newer_than=newer_than)
            except CertificateUnavailableError as error:
                return Unknown(str(error))
            return Settled({"pem": kept.pem.decode("ascii"), "fetched_at": kept.fetched_at.isoformat()})

        try:
            outcome = await ctx.call(step, fetch, {"url": url}, lookup=harmless, timeout_s=FETCH_CALL_S_MAX)
        except RetryableError as error:
            raise CertificateUnavailableError(str(error)) from error
        if not isinstance(outcome, Settled):
            raise CertificateUnavailableError(outcome.reason)
        return Kept(outcome.data["pem"].encode(), datetime.fromisoformat(outcome.data["fetched_at"]))

    async def _by_api(self, transmission: Transmission, before: Judgement) -> Judgement:
        try:
            if not isinstance(parse_json(transmission.body), Mapping):
                raise UnreadableError("expected a JSON object")
        except UnreadableError as error:
            # Put into another text, a body that is no object could close it and say more than its own.
            return Judgement("invalid", f"the body is no JSON object: {error}")
        if not self._settings.client_id.get_secret_value():
            return replace(before, reason=f"{before.reason}; the API cannot be asked without HUB_PAYPAL_CLIENT_ID")
        for webhook_id in self._settings.webhook_ids:
            # A step of its own for each id: when a wrong one has been corrected, a replay asks again.
            step = f"verify-{stable_hash('webhook id', webhook_id).hex()[:8]}"
            status = await self._ask(step, transmission, webhook_id)
            if status == "SUCCESS":
                return Judgement("valid", "PayPal's API says that it is genuine")
            if status != "FAILURE":
                return replace(before, reason=f"{before.reason}; {status}")
        return Judgement("invalid", "PayPal's API says that it is not genuine")

    async def _ask(self, step: str, transmission: Transmission, webhook_id: str) -> str:
        """SUCCESS, FAILURE, or in other words why PayPal did not say."""
        text = verification_text(transmission, webhook_id)

        async def ask(request: Mapping[str, Any], key: str) -> Outcome:
            try:
                async with self._office.verification_pace:
                    answer = await self._office.client.ask(Call("POST", VERIFY_PATH, "verify-webhook", text=text))
            except (NoAnswerError, RetryableError) as error:
                # No word to the provider's limits: webhooks that need no call must not wait for those that do.
                return Unknown(str(error))
            body = answer.body if isinstance(answer.body, Mapping) else {}
            status = body.get("verification_status")
            if answer.status == 200 and status in ("SUCCESS", "FAILURE"):
                return Settled({"verification_status": status})
            return Unknown(f"PayPal's API answers {answer.status} {answer.issue if not answer.is_ok else ''}".strip())

        request = {"transmission_id": transmission.id, "cert_url": transmission.cert_url}
        try:
            outcome = await self._ctx.call(step, ask, request, lookup=harmless, timeout_s=CALL_S_MAX)
        except RetryableError as error:
            return str(error)
        if isinstance(outcome, Settled):
            return str(outcome.data["verification_status"])
        return outcome.reason

    def _readable(self, found: Judgement) -> Judgement:
        """A genuine signature under what is no event proves nothing that could be acted on."""
        if found.verdict not in ("valid", "simulated"):
            return found
        try:
            is_object = isinstance(self._event.data, Mapping)
        except UnreadableError as error:
            return Judgement("invalid", f"signed, but the body cannot be read: {error}")
        return found if is_object else Judgement("invalid", "signed, but the body is no JSON object")


def verification_text(transmission: Transmission, webhook_id: str) -> bytes:
    """The request of PayPal's API, with the body byte for byte: a parser and a printer would change what was signed."""
    members = {
        "auth_algo": transmission.algorithm,
        "cert_url": transmission.cert_url,
        "transmission_id": transmission.id,
        "transmission_sig": transmission.signature_text,
        "transmission_time": transmission.time,
        "webhook_id": webhook_id,
    }
    head = json.dumps(members, separators=(",", ":")).removesuffix("}")
    return head.encode() + b',"webhook_event":' + transmission.body + b"}"


def body_text(body: bytes, most: int) -> tuple[str | None, str]:
    """A body for a message, and how it is written there: as text, in base64, or left out because it is too large."""
    if len(body) > most:
        return None, "left_out"
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"
    # A text of quotes or control characters is written with up to six times its length: it must not burst the message.
    is_plain = "\x00" not in text and len(json.dumps(text, ensure_ascii=False).encode()) <= most * 4 // 3 + 4
    return (text, "utf-8") if is_plain else (base64.b64encode(body).decode(), "base64")


async def harmless(request: Mapping[str, Any], key: str) -> NotFound:
    """The lookup of a step that only reads: asking again does no harm."""
    return NotFound(may_repeat=True)
