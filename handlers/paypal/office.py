"""What one process holds towards PayPal: its token, the certificates it knows, whom it believes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from handlers.paypal.authority import Authority
from handlers.paypal.certificates import Certificates, fetch_certificate
from handlers.paypal.client import PaypalClient
from handlers.paypal.cooling import Pace
from handlers.paypal.plans import Plans
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.trust import Trust
from handlers.paypal.verifying import Believed

OFFICE = "office"
VERIFICATIONS_PER_SECOND_MAX = 1.0
VERIFICATIONS_IN_FLIGHT_MAX = 10


@dataclass(frozen=True, slots=True)
class Office:
    """Made when it is first needed, on the event loop of its hub."""

    client: PaypalClient
    plans: Plans
    certificates: Certificates
    believed: Believed
    verification_pace: Pace


def office_of(settings: PaypalSettings) -> Office:
    """The office of the hub that read these settings. Raises ConfigError for a trust folder that cannot be used."""
    found = settings.kept.get(OFFICE)
    if not isinstance(found, Office):
        found = settings.kept[OFFICE] = _opened(settings)
    return found


def _opened(settings: PaypalSettings) -> Office:
    trust, fetch = Trust.load(settings.trust_dir, settings.environment), fetch_certificate
    if settings.is_played:
        authority = Authority.of(settings.sandbox_dir)
        trust, fetch = trust.beside(authority.trust), authority.fetch
    client = PaypalClient(settings)
    return Office(
        client=client,
        plans=Plans(),
        certificates=Certificates(fetch),
        believed=Believed(settings.environment, settings.webhook_ids, trust, settings.accept_simulator),
        verification_pace=Pace(
            asyncio.get_running_loop().time,
            per_second=VERIFICATIONS_PER_SECOND_MAX,
            in_flight=VERIFICATIONS_IN_FLIGHT_MAX,
        ),
    )
