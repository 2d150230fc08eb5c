"""Reading a scheme's parameters: each by name, with a plain sentence for everything that is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hub.errors import ConfigError, Problem
from hub.routing.fields import hint

WHOLE_CHARS_MAX = 20
"""A longer text is no number that any parameter means."""


class Parameters:
    """The values under ``auth:``. Reads collect their mistakes; ``finish`` raises all of them at once."""

    def __init__(self, scheme: str, values: Mapping[str, object], known: Collection[str]) -> None:
        self._scheme = scheme
        self._values = values
        self._problems: list[Problem] = []
        for name in values:
            if name not in known:
                self.complain(f"unknown parameter {name!r}{hint(name, known)}")

    def complain(self, message: str) -> None:
        """Note a mistake."""
        self._problems.append(Problem(f"auth scheme {self._scheme}: {message}"))

    def text(self, name: str, default: str = "") -> str:
        """A text; the default where it is not given."""
        value = self._values.get(name, default)
        if isinstance(value, str):
            return value
        self.complain(f"{name}: expected text")
        return default

    def choice(self, name: str, options: Collection[str], default: str) -> str:
        """One of ``options``."""
        value = self.text(name, default)
        if value in options:
            return value
        self.complain(f"{name}: expected one of {', '.join(options)}, found {value!r}{hint(value, options)}")
        return default

    def flag(self, name: str) -> bool:
        """A boolean, false where it is not given. The text "true" counts, as a substituted variable is text."""
        value = self._values.get(name, False)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in ("true", "false", "1", "0", ""):
            return value.strip().lower() in ("true", "1")
        self.complain(f"{name}: expected true or false")
        return False

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number between ``low`` and ``high``."""
        value = self._values.get(name, default)
        if isinstance(value, str) and len(value) <= WHOLE_CHARS_MAX and value.strip().isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.complain(f"{name}: expected a whole number from {low} to {high}")
        return default

    def secrets(self, name: str = "secret") -> tuple[str, ...]:
        """Every secret that is not empty: one text, several separated by commas, or a list (which may hold commas).

        White space around a secret is dropped: it comes with files and copying, and no provider means it.
        """
        return tuple(filter(None, (secret.strip() for secret in self.raw_secrets(name))))

    def raw_secrets(self, name: str = "secret") -> list[str]:
        """The secrets as they are written, white space and empty ones included."""
        value = self._values.get(name, "")
        if isinstance(value, str):
            return value.split(",")
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return [str(item) for item in value]
        self.complain(f"{name}: expected a text or a list of texts")
        return []

    def finish(self) -> None:
        """Raise ConfigError when anything was wrong."""
        if self._problems:
            raise ConfigError(self._problems)
