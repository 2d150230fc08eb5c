"""Which addresses a certificate may come from. The header that names one is hostile input.

Source: docs/providers/paypal.md, "The certificate's address".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from handlers.paypal.settings import Environment

URL_CHARS_MAX: Final = 500
CERT_HOSTS: Final[Mapping[Environment, tuple[str, ...]]] = {
    # Real events of the sandbox use the first, live ones and the simulator the third; api-m is precaution.
    "sandbox": ("api.sandbox.paypal.com", "api-m.sandbox.paypal.com"),
    "live": ("api.paypal.com", "api-m.paypal.com"),
}
_URL: Final = re.compile(r"https://([a-z.-]+)(?::443)?/v1/notifications/certs/[A-Za-z0-9_-]+", re.ASCII)


def cert_url_problem(url: str, environment: Environment) -> str | None:
    """Why nothing may be fetched from this address; None when it may.

    One strict form and a list of whole names: no user, no other port, no query, nothing that a URL parser and a
    fetcher could read in two ways.
    """
    if len(url) > URL_CHARS_MAX:
        return f"the certificate's address is longer than {URL_CHARS_MAX} characters"
    found = _URL.fullmatch(url)
    if found is None:
        return "the certificate's address is not https://HOST/v1/notifications/certs/NAME"
    if found[1] not in CERT_HOSTS[environment]:
        return f"the certificate's host is none of PayPal's {environment} hosts"
    return None
