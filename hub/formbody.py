"""Reading a body that a sender may write as JSON or as a form, url-encoded or multipart.

A form carries texts only. What is written as a whole number becomes one, and ``null`` becomes None, so that the same
message reads the same in either shape. Source: https://url.spec.whatwg.org/#urlencoded-parsing; RFC 7578.
"""

from __future__ import annotations

import email.policy
import re
from collections.abc import Iterable
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any, Final
from urllib.parse import parse_qsl

from hub.errors import UnreadableError
from hub.jsonbody import parse_json

URL_ENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
FIELDS_MAX: Final = 200
_WHOLE: Final = re.compile(r"(-?(?:0|[1-9]\d{0,17}))(?:\.0{1,6})?", re.ASCII)
"""As a number is written, and no longer than 64 bits: ``0123`` is an account, not a number."""
_DELIMITER: Final = re.compile(rb"[\r\n]--")
_NESTED: Final = re.compile(rb"(?:^|[\r\n])content-type:\s*(?:multipart|message)/", re.IGNORECASE)


def parse_body(body: bytes, content_type: str) -> Any:
    """What a body says: JSON, or else the fields of a form where it calls itself one. Raises UnreadableError."""
    try:
        return parse_json(body)
    except UnreadableError:
        kind = content_type.partition(";")[0].strip().lower()
        if kind == URL_ENCODED:
            return _fields(_url_encoded(body))
        if kind == MULTIPART:
            return _multipart(body, content_type)
        raise


def _multipart(body: bytes, content_type: str) -> dict[str, Any]:
    try:
        return _fields(_parts(body, content_type))
    except RecursionError:
        # The library reads what stands in brackets in a part's head by calling itself.
        raise UnreadableError("expected named texts in a multipart form") from None


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, text in pairs:
        if name in fields:
            raise UnreadableError("a field of the form appears twice")
        if len(fields) >= FIELDS_MAX:
            raise UnreadableError(f"expected at most {FIELDS_MAX} fields")
        fields[name] = _value(text)
    if not fields:
        raise UnreadableError("expected the fields of a form, found none")
    return fields


def _value(text: str) -> str | int | None:
    if text == "null":
        return None
    whole = _WHOLE.fullmatch(text)
    return int(whole[1]) if whole else text


def _url_encoded(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError as error:
        # Its words may quote the body.
        raise UnreadableError("expected the fields of a url-encoded form") from error


def _parts(body: bytes, content_type: str) -> Iterable[tuple[str, str]]:
    # Parts within parts are no form. The library reads one by calling itself, which a few hundred of them exhaust.
    if _NESTED.search(body):
        raise UnreadableError("expected named texts in a multipart form")
    # Counted before they are taken apart: twenty thousand took four seconds, and nothing else ran meanwhile.
    if len(_DELIMITER.findall(body)) > FIELDS_MAX:
        raise UnreadableError(f"expected at most {FIELDS_MAX} fields")
    head = b"Content-Type: " + content_type.encode("ascii", "replace") + b"\r\n\r\n"
    message = BytesParser(EmailMessage, policy=email.policy.HTTP).parsebytes(head + body)
    if not message.is_multipart() or message.defects:
        raise UnreadableError("expected the parts of a multipart form")
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes) or part.get_filename() is not None:
            raise UnreadableError("expected named texts in a multipart form")
        try:
            yield name, content.decode("utf-8").removesuffix("\r\n")
        except UnicodeDecodeError as error:
            raise UnreadableError("expected UTF-8 text in a multipart form") from error
