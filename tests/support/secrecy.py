"""Looks through everything that tests print, logs above all, for the secrets that hubs of tests are started with.

``tests/conftest.py`` asks it after every test, ``tests/integration/app/process.py`` after every process. What a test
reads itself (``capsys``) is that test's own affair: some commands are there to print a token.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

WEBHOOK_KEY: Final = "test-webhook-key"
API_KEY: Final = "test-admin-key"
JWT_SECRET: Final = "test-jwt-secret-of-32-characters!!"
PLANTED: Final = (API_KEY, WEBHOOK_KEY, JWT_SECRET)
"""Secrets of nearly every hub in the tests. No test has a reason to print one."""
AROUND: Final = 300


def leaks(texts: Iterable[str]) -> list[str]:
    """Where one of these texts holds a secret: the secret with what stands around it."""
    found = ((secret, text, text.find(secret)) for text in texts for secret in PLANTED)
    return [f"{secret!r} in: {text[max(0, at - AROUND) : at + AROUND]}" for secret, text, at in found if at >= 0]
