"""CloudEvents 1.0 over HTTP, in structured, binary and batched form, read into messages for the inbox.

Source: CloudEvents 1.0.2, "JSON event format", "JSON batch format", "HTTP protocol binding".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from hub.errors import UnreadableError
from hub.event import Verdict
from hub.inbox.received import Received
from hub.ingress.spans import Span, element_spans, member_spans
from hub.jsonbody import parse_json
from hub.routing.fields import hint

EVENTS_PER_BATCH_MAX = 500
EXTENSIONS_MAX = 32
ATTRIBUTE_CHARS_MAX = 255
EXTENSION_CHARS_MAX = 4_096

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
JSON = "application/json"
_OWN = ("specversion", "id", "source", "type", "time", "datacontenttype", "data", "data_base64")
_NAME = re.compile(r"[a-z0-9]{1,64}")
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one event; ``at`` is its place in a batch, such as ``[3].``, for messages."""

    sources: Collection[str]
    verdict: Verdict
    at: str = ""

    def read(self, attributes: Mapping[str, Any], payload: bytes, content_type: str) -> Received:
        if attributes.get("specversion") != "1.0":
            raise self._wrong("specversion", 'expected "1.0"')
        source = self._text(attributes, "source")
        if source not in self.sources:
            expected = "expected the name of a source that accepts posted events"
            raise self._wrong("source", f"{expected}, found {source[:64]!r}{hint(source, self.sources)}")
        extensions = self._extensions(attributes)
        return Received(
            source=source,
            body=payload,
            content_type=content_type,
            headers=extensions,
            routing_key=self._text(attributes, "type"),
            message_id=self._text(attributes, "id"),
            timestamp=self._time(attributes.get("time")),
            verdict=self.verdict,
            traceparent=traceparent(extensions.get("traceparent", "")),
        )

    def payload(self, attributes: Mapping[str, Any], text: str, spans: Mapping[str, Span]) -> bytes:
        """The exact bytes of ``data``, or what ``data_base64`` says."""
        if ("data" in attributes) == ("data_base64" in attributes):
            raise self._wrong("data", "expected the payload, in either data or data_base64")
        if "data_base64" in attributes:
            return self._base64(attributes["data_base64"])
        data = attributes["data"]
        if isinstance(data, str) and not is_json(self.content_type(attributes)):
            return data.encode()
        begin, end = spans["data"]
        return text[begin:end].encode()

    def content_type(self, attributes: Mapping[str, Any]) -> str:
        """The content type of the payload; JSON where nothing is said."""
        if attributes.get("datacontenttype") is None:
            return JSON
        return self._text(attributes, "datacontenttype")

    def _extensions(self, attributes: Mapping[str, Any]) -> dict[str, str]:
        names = [name for name in attributes if name not in _OWN and attributes[name] is not None]
        if len(names) > EXTENSIONS_MAX:
            raise self._wrong("", f"expected at most {EXTENSIONS_MAX} further attributes")
        return {name: self._extension(name, attributes[name]) for name in names}

    def _extension(self, name: str, value: object) -> str:
        if not _NAME.fullmatch(name):
            raise self._wrong(name[:64], "expected an attribute name of lower-case letters and digits")
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        if not isinstance(value, str):
            raise self._wrong(name, "expected text, a whole number or a boolean")
        if len(value) > EXTENSION_CHARS_MAX or _CONTROL.search(value):
            raise self._wrong(name, f"expected at most {EXTENSION_CHARS_MAX} characters and no control characters")
        return value

    def _text(self, attributes: Mapping[str, Any], name: str) -> str:
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "expected text that is not empty")
        if len(value.encode("utf-8", "replace")) > ATTRIBUTE_CHARS_MAX or _CONTROL.search(value):
            raise self._wrong(name, f"expected at most {ATTRIBUTE_CHARS_MAX} bytes and no control characters")
        return value

    def _time(self, value: object) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str) and _RFC3339.fullmatch(value):
            try:
                return datetime.fromisoformat(value.upper()).astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        raise self._wrong("time", "expected an RFC 3339 time such as 2026-01-31T09:30:00Z")

    def _base64(self, value: object) -> bytes:
        try:
            if isinstance(value, str):
                return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
        raise self._wrong("data_base64", "expected base64")

    def _wrong(self, name: str, message: str) -> UnreadableError:
        return UnreadableError(message, field=f"{self.at}{name}".rstrip(".") or "event")


def read_cloudevents(
    *,
    headers: Mapping[str, str],
    body: bytes,
    sources: Collection[str],
    verdict: Verdict = Verdict.VALID,
) -> list[Received]:
    """Every event in the request, in its order; the first mistake refuses the whole request.

    ``headers`` have lower-case names; ``sources`` are those that accept posted events.

    Raises: UnreadableError with the place of the mistake; UnsupportedFormatError when it is not a CloudEvent at all.
    """
    content_type = headers.get("content-type", "")
    form = content_type.partition(";")[0].strip().lower()
    if form == BATCHED:
        return _batch(body, sources, verdict)
    if form == STRUCTURED:
        text = body.decode("utf-8", "replace")
        return [_structured(_Reader(sources, verdict), parse_json(body), text, 0)]
    if form.startswith("application/cloudevents"):
        raise UnsupportedFormatError(f"expected {STRUCTURED} or {BATCHED}; other event formats are not read")
    if "ce-specversion" in headers:
        return [_binary(_Reader(sources, verdict), headers, body, content_type)]
    raise UnsupportedFormatError(f"expected a CloudEvent: content type {STRUCTURED} or {BATCHED}, or headers ce-…")


class UnsupportedFormatError(UnreadableError):
    """The content type is not one that the hub reads."""


def _batch(body: bytes, sources: Collection[str], verdict: Verdict) -> list[Received]:
    events = parse_json(body)
    if not isinstance(events, list):
        raise UnreadableError("expected an array of events", field="body")
    if len(events) > EVENTS_PER_BATCH_MAX:
        raise UnreadableError(f"expected at most {EVENTS_PER_BATCH_MAX} events", field="body")
    text = body.decode()
    return [
        _structured(_Reader(sources, verdict, f"[{index}]."), event, text, begin)
        for index, (event, (begin, _)) in enumerate(zip(events, element_spans(text), strict=True))
    ]


def _structured(reader: _Reader, event: object, text: str, begin: int) -> Received:
    if not isinstance(event, dict):
        raise UnreadableError("expected an object", field=reader.at.rstrip(".") or "body")
    received = reader.read(event, b"", reader.content_type(event))
    return replace(received, body=reader.payload(event, text, member_spans(text, begin)))


def _binary(reader: _Reader, headers: Mapping[str, str], body: bytes, content_type: str) -> Received:
    # Attribute values are percent-encoded where a header cannot hold them.
    attributes = {
        name.removeprefix("ce-"): unquote(value, errors="replace")
        for name, value in headers.items()
        if name.startswith("ce-")
    }
    for name in ("data", "data_base64", "datacontenttype"):
        if name in attributes:
            raise UnreadableError("is not an attribute of the binary form", field=f"ce-{name}")
    if "traceparent" in headers:
        attributes.setdefault("traceparent", headers["traceparent"])
    return reader.read(attributes, body, content_type or JSON)


def is_json(content_type: str) -> bool:
    """Whether a content type says JSON."""
    form = content_type.partition(";")[0].strip().lower()
    return form in (JSON, "text/json") or form.endswith("+json")


def traceparent(value: str) -> str:
    """A W3C trace context if it is a good one, else empty (then the inbox begins a new trace)."""
    return value if _TRACEPARENT.fullmatch(value) else ""
