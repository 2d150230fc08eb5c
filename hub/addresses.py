"""Addresses of the hub's own that more than one part of it must know."""

from __future__ import annotations

from typing import Final

CONSOLE: Final = "/console"
"""Below it are the pages of the console."""
