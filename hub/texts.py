"""Which texts can be kept."""

from __future__ import annotations

import re
from typing import Final

_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether a database can hold this text: no NUL, no half of a surrogate pair."""
    return _UNSTORABLE.search(text) is None
