"""What routing.yaml says about how much may go where: rates, calls at once, circuits."""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from hub.routing.fields import Duration, wrong
from hub.routing.model import Model

PER_SECOND_LIMIT: Final = 100_000
BURST_LIMIT: Final = 1_000_000
CALLS_IN_FLIGHT_DEFAULT: Final = 32
CALLS_IN_FLIGHT_LIMIT: Final = 1_000
FAILURES_DEFAULT: Final = 10
FAILURES_LIMIT: Final = 1_000


class RateConfig(Model):
    """How many per second, over all processes together: each takes an equal part."""

    per_second: float = Field(gt=0, le=PER_SECOND_LIMIT)
    """How many per second in the long run; less than one is allowed."""
    burst: int | None = Field(default=None, ge=1, le=BURST_LIMIT)
    """How many at once after a quiet time; unset means those of one second."""

    @property
    def burst_size(self) -> int:
        """The burst, also where the file says none."""
        return self.burst if self.burst is not None else max(1, round(self.per_second))


class CircuitConfig(Model):
    """When to stop trying somebody who does not answer, and for how long."""

    failures: int = Field(default=FAILURES_DEFAULT, ge=1, le=FAILURES_LIMIT)
    """So many without an answer open the circuit."""
    of: int | None = Field(default=None, ge=1, le=FAILURES_LIMIT)
    """Among so many of the last ones; unset means in a row."""
    open_s: Duration = Field(default=30.0, alias="open")
    """How long nothing is tried; then one tries, and its success closes the circuit."""

    @model_validator(mode="after")
    def _in_reach(self) -> CircuitConfig:
        if self.of is not None and self.of < self.failures:
            raise wrong(f"expected of to be at least failures, found {self.of} and {self.failures}")
        return self

    @property
    def window(self) -> int:
        """How many of the last ones count."""
        return self.of if self.of is not None else self.failures


class ProviderConfig(Model):
    """How the calls of a provider's handlers are bounded, over all processes together."""

    in_flight: int = Field(default=CALLS_IN_FLIGHT_DEFAULT, ge=1, le=CALLS_IN_FLIGHT_LIMIT)
    """How many calls may be under way at once; each process takes an equal part, and at least one."""
    rate: RateConfig | None = None
    """How many calls may leave per second; unset means no bound."""
    circuit: CircuitConfig | None = CircuitConfig()
    """When to stop calling it because it does not answer; null means never."""
