"""Where the pages of the console are, and which host is this machine itself."""

from __future__ import annotations

import ipaddress
from typing import Final

from hub.addresses import CONSOLE

BASE: Final = CONSOLE
LOGIN: Final = f"{BASE}/login"
NEXT_CHARS_MAX: Final = 500


def next_of(text: str) -> str:
    """Where to go after the sign-in: a page of the console, or its first one."""
    is_page = text.startswith(f"{BASE}/") and not text.startswith(LOGIN) and len(text) <= NEXT_CHARS_MAX
    return text if is_page and text.isprintable() and "\\" not in text else f"{BASE}/"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
