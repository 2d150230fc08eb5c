"""The command line in this process, on a home of its own, with the project's routing.yaml or another."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.cli.catalogue import root
from tests.support.running import PROJECT, environment, running

LOYMAX = PROJECT / "tests" / "data" / "loymax"
EXAMPLES = PROJECT / "tests" / "examples"
BLOCK = LOYMAX / "card_block.json"
BLOCK_TYPE = "customer.card.changeBlockState"
PURCHASE = LOYMAX / "purchase_confirm.json"
PURCHASE_TYPE = "purchases.confirm.modelUpdate"

SHOP = """\
version: 1
sources:
  shop:
    webhook: { path: /webhooks/shop, auth: { scheme: api_key, secret: "${SHOP_KEY}" } }
    event: { type: routing_key, id: data.id, key: data.customer }
    mask: [data.phone]
destinations:
  nowhere: { exchange: shop.events }
routes:
  - name: forward-orders
    match: order.paid
    publish: nowhere
    examples: [{ file: order.json, type: order.paid }]
"""
ORDER = {"id": "o-1", "customer": "c-7", "phone": "0900000000"}


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code in (0, 1), self.err
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """Everything that was said, without frames and line breaks."""
        return " ".join((self.out + self.err).replace("│", " ").split())


class Cli:
    """Calls commands, and lets the hub's loops run in between."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.environ = environment(home, COLUMNS="400", HUB_DATABASE_BUSY_TIMEOUT_S="0.3")
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.set(self.environ)

    def set(self, variables: Mapping[str, str]) -> None:
        self.environ |= variables
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def unset(self, name: str) -> None:
        self.environ.pop(name, None)
        self._monkeypatch.delenv(name, raising=False)

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Answer:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            root().main([str(one) for one in arguments], prog_name="hub")
        said = self._capsys.readouterr()
        code = ended.value.code
        return Answer(code if isinstance(code, int) else 0 if code is None else 1, said.out, said.err)

    def publish(self, file: Path, type_: str, *more: str, source: str = "loymax") -> str:
        """Publish a file; returns the event's id."""
        answer = self("publish", file, "--source", source, "--type", type_, "--json", *more)
        event_id: str = answer.json["event_id"]
        return event_id

    def deliver(self) -> None:
        """Let a worker and a relay run until nothing is left to do."""

        async def work() -> None:
            async with running(self.environ, roles=("worker", "relay")) as hub:
                await hub.settled()

        asyncio.run(work())
        self._capsys.readouterr()

    def sql(self, statement: str) -> list[Any]:
        """Do something behind the hub's back."""
        with contextlib.closing(sqlite3.connect(self.home / "hub.db", isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    @property
    def process_environ(self) -> dict[str, str]:
        """For a command in a process of its own."""
        return self.environ | {"PATH": os.environ["PATH"]}

    def write(self, name: str, body: object) -> Path:
        """A file in the home: text as it is, anything else as JSON."""
        path = self.home / name
        path.write_text(body if isinstance(body, str) else json.dumps(body))
        return path

    def use_shop(self) -> Path:
        """From now on the rules are ``SHOP``; returns a file with an order."""
        self.set({"HUB_ROUTING": str(self.write("routing.yaml", SHOP)), "SHOP_KEY": "shop-key"})
        return self.write("order.json", ORDER)
