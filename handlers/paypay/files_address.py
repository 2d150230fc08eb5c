"""Which addresses a transaction file may be fetched from. The notice is unsigned: its address is a stranger's wish.

Only https, only hosts that ``PAYPAY_FILE_HOSTS`` lists, no user-info, and only what the name leads to on the public
internet: the address that was judged is the one that is connected to. Source: docs/providers/paypay.md,
"Transaction files".
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from hub.errors import HubError

ADDRESS_MAX: Final = 4_096
HTTPS: Final = 443
_PLAIN: Final = re.compile(r"[\x21-\x7e]+")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class AddressRefusedError(HubError):
    """This address is not fetched from; the text says why, without the address."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Hosts that files may be fetched from: names, with a port where it is not 443.

    ``own`` is where PayPay is played on this machine (scheme, host and port): it may be plain and private.
    """

    hosts: Collection[str]
    own: str = ""

    def is_own(self, url: URL) -> bool:
        return bool(self.own) and origin_of(url) == origin_of(URL(self.own))


def checked_address(text: object, allowed: Allowed) -> URL:
    """The address, where it may be fetched from. Raises AddressRefusedError."""
    if not isinstance(text, str) or not 0 < len(text) <= ADDRESS_MAX:
        raise AddressRefusedError("the notice brings no address")
    if not _PLAIN.fullmatch(text) or "\\" in text:
        raise AddressRefusedError("the address holds characters that an address does not have")
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        raise AddressRefusedError("the address cannot be read") from None
    if url.scheme not in ("https", "http") or not host:
        raise AddressRefusedError("the address is none of https")
    if url.user is not None or url.password is not None:
        raise AddressRefusedError("the address holds a user name")
    if allowed.is_own(url):
        return url
    if url.scheme != "https":
        raise AddressRefusedError("the address is not https")
    if not allowed.hosts:
        raise AddressRefusedError("PAYPAY_FILE_HOSTS lists no host: say which one PayPay's files come from")
    name = host_of(url)
    wanted = name if port == HTTPS else f"{name}:{port}"
    if wanted not in {one.lower().rstrip(".") for one in allowed.hosts}:
        raise AddressRefusedError(f"PAYPAY_FILE_HOSTS does not list the host {wanted[:100]}")
    if _is_number(host) and not is_public(host):
        raise AddressRefusedError("the address is not on the public internet")
    return url


def host_of(url: URL) -> str:
    """The name of the host, as it is compared and shown."""
    return (url.raw_host or "").lower().rstrip(".")


def origin_of(url: URL) -> tuple[str, str, int | None]:
    """Scheme, host and port: what an address belongs to."""
    return url.scheme, host_of(url), url.port


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where another one is hidden inside."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None and not _is_global(inner):
            return False
    return _is_global(ip)


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses one that leads anywhere but to the public internet.

    What it answers is what is connected to, so a name cannot change its mind between the look and the connection.
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Every address of this name. Raises OSError, AddressRefusedError."""
        found = await self._resolver.resolve(host, port, family)
        if not found or not all(is_public(one["host"]) for one in found):
            raise AddressRefusedError("the name of the host leads to a private address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _is_global(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return ip.is_global and not ip.is_multicast


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
