"""Which version the descriptions name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def hub_version() -> str:
    """The installed version of the hub."""
    try:
        return version("hub")
    except PackageNotFoundError:
        return "0"
