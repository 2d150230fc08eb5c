"""What of a payload is shown where its source is not known for sure: nothing that any source hides."""

from __future__ import annotations

from collections.abc import Mapping

from hub.operate.masking import Mask
from hub.routing import SourceConfig

CELL_CHARS_MAX = 120
"""How much of a payload fits into a table; ``--json`` has all of it."""


def shown_payload(payload: bytes, sources: Mapping[str, SourceConfig], *, raw: bool) -> str:
    """One line of text for a table."""
    paths = [] if raw else [path for source in sources.values() for path in source.mask]
    text = " ".join(Mask(paths).payload(payload).split())
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"
