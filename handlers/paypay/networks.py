"""Whose notifications are taken: those from listed networks, since PayPay signs nothing.

Source: docs/providers/paypay.md, "Notifications".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from hub.event import Verdict
from hub.ingress.authentication import Decision, Request, refused
from hub.ingress.parameters import Parameters
from hub.ingress.remote import is_within

if TYPE_CHECKING:
    from hub.ingress.authentication import Scheme
    from hub.settings import Network

NAME: Final = "paypay_networks"


@dataclass(frozen=True, slots=True)
class FromNetworks:
    """Lets senders in from these networks, and everybody where none is listed: what they say is only a hint.

    The address is the one that ``HUB_TRUSTED_PROXIES`` vouches for.
    """

    networks: tuple[Network, ...]

    def decide(self, request: Request, now: datetime) -> Decision:
        if self.networks and not is_within(request.remote, self.networks):
            return refused("the sender's address is on no network of PAYPAY_WEBHOOK_NETWORKS")
        return Decision(Verdict.NONE, "notifications are not signed, and only hints")


def paypay_networks(values: Mapping[str, object]) -> Scheme:
    """Build the scheme from ``networks``: addresses and networks, separated by commas. Raises ConfigError."""
    parameters = Parameters(NAME, values, ("networks",))
    networks: list[Network] = []
    for part in filter(None, (one.strip() for one in parameters.text("networks").split(","))):
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            parameters.complain(f"networks: expected an address or a network such as 203.0.113.0/24, found {part!r}")
    parameters.finish()
    return FromNetworks(tuple(networks))
