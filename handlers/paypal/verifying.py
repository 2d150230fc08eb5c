"""Is it PayPal who speaks, and to us? A closed set of verdicts, and nothing that guesses.

valid       the signature is PayPal's, for one of our webhooks
simulated   PayPal's simulator, where that is switched on: recorded, and nothing follows
invalid     definitely not: refused, and nobody is asked
undecided   we cannot tell: ask PayPal's API, or again later; never a refusal and never a pass

Source: docs/providers/paypal.md, "How a webhook is proven".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from handlers.paypal.cert_url import cert_url_problem
from handlers.paypal.settings import SIMULATOR_WEBHOOK_ID, Environment
from handlers.paypal.transmission import ALGORITHM, NotSignedError, Transmission
from handlers.paypal.trust import (
    Trust,
    UnknownIssuerError,
    WrongCertificateError,
    is_signed_by,
    read_certificates,
)

Verdict = Literal["valid", "invalid", "undecided", "simulated"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and why in words for a person. ``may_be_renewed``: another certificate could still fit."""

    verdict: Verdict
    reason: str
    may_be_renewed: bool = False


@dataclass(frozen=True, slots=True)
class Believed:
    """Whom this hub believes: its environment, its webhooks, and who vouches for PayPal's certificates."""

    environment: Environment
    webhook_ids: tuple[str, ...]
    trust: Trust
    accept_simulator: bool = False

    def signer_environment(self, transmission: Transmission) -> Environment:
        """Whose certificate the delivery names: ours, or for the simulator the live one.

        Raises NotSignedError: no certificate can help this delivery, and nothing may be fetched.
        """
        if not self.webhook_ids:
            raise NotSignedError("no webhook id is configured: nobody is believed")
        if transmission.algorithm != ALGORITHM:
            raise NotSignedError(f"the algorithm is not {ALGORITHM}")
        transmission.signature()
        problem = cert_url_problem(transmission.cert_url, self.environment)
        if problem is None:
            return self.environment
        # What PayPal's simulator sends to a sandbox is signed with the live certificate.
        if self.accept_simulator and cert_url_problem(transmission.cert_url, "live") is None:
            return "live"
        raise NotSignedError(problem)

    def judge(self, transmission: Transmission, pem: bytes, received_at: datetime) -> Judgement:
        """The verdict with this answer of the certificate's address."""
        try:
            signer_environment = self.signer_environment(transmission)
            certificates = read_certificates(pem)
            self.trust.check(certificates, signer_environment, received_at)
            signature = transmission.signature()
            if signer_environment == self.environment:
                for webhook_id in self.webhook_ids:
                    if is_signed_by(certificates[0], signature, transmission.message(webhook_id)):
                        return Judgement("valid", "signed by PayPal for this webhook")
            is_simulated = is_signed_by(certificates[0], signature, transmission.message(SIMULATOR_WEBHOOK_ID))
        except (NotSignedError, WrongCertificateError) as error:
            return Judgement("invalid", str(error), may_be_renewed=isinstance(error, WrongCertificateError))
        except UnknownIssuerError as error:
            return Judgement("undecided", str(error))
        if is_simulated and self.accept_simulator:
            return Judgement("simulated", "signed by PayPal's simulator")
        if is_simulated:
            return Judgement("invalid", "PayPal's simulator signed it, and that is not accepted")
        return Judgement("invalid", "the signature does not fit", may_be_renewed=True)
