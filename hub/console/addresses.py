"""Where the pages of the console are."""

from __future__ import annotations

from typing import Final

BASE: Final = "/console"
LOGIN: Final = f"{BASE}/login"
NEXT_CHARS_MAX: Final = 500


def next_of(text: str) -> str:
    """Where to go after the sign-in: a page of the console, or its first one."""
    is_page = text.startswith(f"{BASE}/") and not text.startswith(LOGIN) and len(text) <= NEXT_CHARS_MAX
    return text if is_page and text.isprintable() and "\\" not in text else f"{BASE}/"
