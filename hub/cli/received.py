"""A message out of a file, as if its source had received it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hub.cli.options import as_headers, read_file
from hub.errors import UnreadableError, UsageError
from hub.event import Verdict
from hub.headers import clean_headers
from hub.inbox.received import Received
from hub.routing.fields import nearest

CONTENT_TYPE = "content-type"
JSON_TYPE = "application/json"


def received_from(
    file: str, *, source: str, sources: Collection[str], type_: str, message_id: str, header: Sequence[str] | None
) -> Received:
    """The message; headers that hold secrets are dropped as they are everywhere. Raises UsageError."""
    if source not in sources:
        raise UsageError(f"--source: there is no source {source!r}; {nearest(source, sources)}")
    headers = _headers(header)
    return Received(
        source=source,
        body=read_file(file),
        content_type=headers.pop(CONTENT_TYPE, JSON_TYPE),
        headers=headers,
        routing_key=type_,
        message_id=message_id,
        verdict=Verdict.TRUSTED,
    )


def _headers(pairs: Sequence[str] | None) -> dict[str, str]:
    given = as_headers(pairs)
    try:
        kept = clean_headers(given.items())
    except UnreadableError as error:
        raise UsageError(f"--header: {error}") from error
    # The carrier's own headers are not kept with an event; this one has a column of its own.
    return kept | ({CONTENT_TYPE: given[CONTENT_TYPE]} if CONTENT_TYPE in given else {})
