"""The connection to RabbitMQ: what stops a start, and what is waited for later."""

from __future__ import annotations

import pytest
from aiormq.exceptions import AMQPError

from hub.errors import ConfigError
from hub.transports import TransportUnavailableError
from hub.transports.rabbit.link import REFUSALS, Link


async def test_a_login_that_is_refused_stops_a_start_and_is_waited_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link("amqp://hub:secret@broker.example/", "in")

    async def refuse() -> None:
        refusal: AMQPError = REFUSALS[0]("no")
        raise refusal

    monkeypatch.setattr(link._broker, "connect", refuse)
    with pytest.raises(ConfigError, match=r"broker\.example:5672/ refuses the login"):
        await link.channel()

    # As when its user is replaced while the hub runs: the relay and the readers go on asking.
    link.is_settled = True
    with pytest.raises(TransportUnavailableError, match="refuses the login") as told:
        await link.channel()
    assert "secret" not in str(told.value)
