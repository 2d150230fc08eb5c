"""Whose request it is, when proxies stand in between."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from hub.settings import Network


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The sender's address: the nearest one that is no trusted proxy.

    ``forwarded_for`` holds the values of X-Forwarded-For, which anyone can write: it is read from its end, and only
    as far as those who wrote it are trusted.
    """
    if not forwarded_for or not trusted:
        return peer
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",") if hop.strip()]
    address = peer
    while hops and is_within(address, trusted):
        hop = hops.pop()
        if _parse(hop) is None:
            break
        address = hop
    return address


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address is on one of the networks; text that is no address is on none."""
    parsed = _parse(address)
    return parsed is not None and any(parsed.version == network.version and parsed in network for network in networks)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
