"""The world around the hub in one run: senders that repeat, a network that loses, doubles and delays, and time."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import jwt

from handlers.paypal.authority import Authority
from hub.errors import StoreUnavailableError
from hub.transports import Confirmed, OutboundMessage, TransportUnavailableError
from tests.faults.invoices import WEBHOOK_ID
from tests.faults.line import Answer
from tests.faults.scenarios import JWT_SECRET
from tests.simulation.chance import Chance, Weather
from tests.simulation.clock import VirtualClock
from tests.simulation.gate import Crash
from tests.simulation.life import Life
from tests.simulation.loop import IN_HUB, Asking, VirtualLoop
from tests.simulation.providers import MemoryBank, PlayedPayPal, PlayedPayPay
from tests.support.running import API_KEY, WEBHOOK_KEY

ANSWER_S_MAX: Final = 60.0
AGAIN_S: Final = 20.0
AGAIN_S_MAX: Final = 1_800.0
REPEATS_MAX: Final = 3
JSON: Final = {"Content-Type": "application/json"}
ADMIN: Final = {**JSON, "Authorization": f"Bearer {API_KEY}"}
BATCH: Final = {**ADMIN, "Content-Type": "application/cloudevents-batch+json"}
WEBHOOK: Final = {**JSON, "Authorization": f"Apikey {WEBHOOK_KEY}"}


@dataclass
class Parcel:
    """What somebody sends until it is answered: ``messages`` of a ``source`` in one request, or a command."""

    name: str
    source: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    messages: Sequence[bytes] = ()
    tries_max: int = 0
    on_answer: Callable[[Answer], None] | None = None
    is_signed: bool = False
    tries: int = 0
    is_taken: bool = False
    last: str = ""


@dataclass
class Told:
    """What the world knows of its dealings with the hub: what the judge holds it to."""

    accepted: list[tuple[str, bytes]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    purchases: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    transfers: dict[int, int] = field(default_factory=dict)
    exchanges: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    grants: dict[str, int] = field(default_factory=dict)
    lives: int = 0
    falls: int = 0
    """Lives that ended by themselves."""
    points: int = 0

    def accept(self, name: str, source: str, messages: Sequence[bytes]) -> None:
        """A parcel was answered with 2xx.

        It may have been refused before, in an answer that was lost: by now the member has points, for one.
        """
        self.answered[source] += len(messages)
        self.accepted += [(source, message) for message in messages]
        self.refused = [one for one in self.refused if one[0] != name]


class World:
    """One run's surroundings. ``step`` lets everybody act once."""

    def __init__(
        self,
        loop: VirtualLoop,
        clock: VirtualClock,
        chance: Chance,
        weather: Weather,
        authority: Authority,
    ) -> None:
        self.loop = loop
        self.clock = clock
        self.chance = chance
        self.weather = weather
        self.bank = MemoryBank()
        self.told = Told()
        self.paypay: PlayedPayPay
        self.paypal: PlayedPayPal
        self.life: Life | None = None
        self.environ: Mapping[str, str] = {}
        self.is_calm = False
        self.loss_share = weather.loss
        self._authority = authority
        self._due: list[tuple[float, int, Parcel]] = []
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = 0
        self._mails = 0
        self._sending: set[asyncio.Future[None]] = set()
        self._errors: list[BaseException] = []

    # --- Sending ---------------------------------------------------------------------------------------------------

    def post(self, parcel: Parcel, *, in_s: float = 0.0) -> None:
        """Send it, after a while."""
        self._numbers += 1
        heapq.heappush(self._due, (self.clock.monotonic() + in_s, self._numbers, parcel))

    def later(self, in_s: float, do: Callable[[], object]) -> None:
        """Do something of the world's own after a while."""
        self._numbers += 1
        heapq.heappush(self._later, (self.clock.monotonic() + in_s, self._numbers, do))

    def mail(self, source: str, path: str, body: Mapping[str, Any], delay_s: float, copies: int) -> None:
        """A provider tells the hub something, until it is thanked; PayPay gives up after three repeats."""
        data = json.dumps(body, ensure_ascii=False).encode()
        self._mails += 1
        for copy in range(copies):
            name = f"mail {source} {self._mails} {copy}"
            is_paypal = source == "paypal" and path == "/webhooks/paypal"
            tries_max = 0 if is_paypal else 4
            parcel = Parcel(name, "paypal" if is_paypal else "paypay", path, data, JSON, [data], tries_max)
            parcel.is_signed = is_paypal
            self.post(parcel, in_s=delay_s + self._late(name))

    def _late(self, name: str) -> float:
        if self.is_calm or self.chance.of("late", name) >= self.weather.late:
            return 0.0
        return self.chance.of("how late", name) ** 3 * self.weather.late_s_max

    def send(self, parcel: Parcel) -> None:
        """Send it now, or late, as the network will have it."""
        self.post(parcel, in_s=self._late(parcel.name))

    @property
    def latest_s(self) -> float:
        """In how many seconds the last of what is on its way comes."""
        return max((one[0] - self.clock.monotonic() for one in (*self._due, *self._later)), default=0.0)

    @property
    def is_quiet(self) -> bool:
        """Whether everybody has been answered."""
        return not self._due and not self._sending and not self._later

    def unanswered(self) -> list[str]:
        """Who has still not been answered, with how the hub put it last."""
        left = [f"{one[2].name} (after {one[2].tries} tries: {one[2].last})" for one in self._due]
        return [f"everybody is answered: {'; '.join(left[:4])}"] if left else []

    async def step(self, seconds: float) -> None:
        """Send what is due, and let the hub work for so long; a hub that is cut off is followed by another one."""
        now = self.clock.monotonic()
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()
        while self._due and self._due[0][0] <= now:
            parcel = heapq.heappop(self._due)[2]
            task = asyncio.create_task(self._transmit(parcel))
            self._watch(task)
        await asyncio.sleep(seconds)
        if self._errors:
            raise self._errors[0]
        life = self.life
        if life is None or life.gate.is_dead or (life.hub is not None and life.hub.failed.is_set()):
            self.told.falls += life is not None and not life.gate.is_dead
            await self.begin_life()

    def _watch(self, task: asyncio.Future[None]) -> None:
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Future[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def begin_life(self) -> None:
        """The next process, once the former one is gone."""
        if self.life is not None:
            await self.life.end()
            self.told.points += self.life.gate.points
        self.told.lives += 1
        self.life = Life(self.loop, self.clock, self.told.lives)
        await self.life.begin(self.environ)

    async def _transmit(self, parcel: Parcel) -> None:
        parcel.tries += 1
        fate = self.chance.of("net", parcel.name, parcel.tries)
        loss = 0.0 if self.is_calm else self.loss_share
        if fate >= loss / 2:
            answer = await self._asked(parcel)
            if answer is not None:
                self._note(parcel, answer)
            if loss / 2 <= fate < loss:
                # It was done, and its sender never hears of it.
                answer = None
        else:
            answer = None
        if answer is None or answer.status in (429, 500, 502, 503):
            if not parcel.tries_max or parcel.tries < parcel.tries_max:
                wait_s = min(AGAIN_S_MAX, AGAIN_S * 2 ** min(parcel.tries, 10)) if not self.is_calm else AGAIN_S
                self.post(parcel, in_s=wait_s)
            return
        is_first, parcel.is_taken = not parcel.is_taken, True
        if is_first and parcel.on_answer is not None:
            parcel.on_answer(answer)
        if answer.status >= 400:
            return
        repeats = parcel.tries <= REPEATS_MAX and not self.is_calm
        if repeats and self.chance.of("again", parcel.name, parcel.tries) < self.weather.duplicates:
            self.post(parcel, in_s=self.chance.between(0.0, 600.0, "again in", parcel.name, parcel.tries))

    def _note(self, parcel: Parcel, answer: Answer) -> None:
        parcel.last = f"{answer.status} {answer.body[:200]!r}"
        if 200 <= answer.status < 300:
            self.told.accept(parcel.name, parcel.source, parcel.messages)
        elif answer.status < 500 and answer.status != 429:
            self.told.refused.append((parcel.name, answer.status, answer.body.decode("utf-8", "replace")[:300]))

    async def _asked(self, parcel: Parcel) -> Answer | None:
        port = self.life.port if self.life is not None else None
        if port is None:
            return None
        self.told.sent[parcel.source] += len(parcel.messages)
        headers = parcel.headers
        if parcel.is_signed:
            id_ = f"{UUID(int=self.chance.random('transmission', parcel.name).getrandbits(128))}"
            headers = self._authority.signed_headers(
                parcel.body, WEBHOOK_ID, transmission_id=id_, now=self.clock.world_now
            )
        done: asyncio.Future[bytes] = self.loop.create_future()
        try:
            self.loop.connect(lambda: Asking(request_of(parcel.path, parcel.body, headers), done), port)
        except ConnectionRefusedError:
            return None
        await asyncio.wait({done}, timeout=ANSWER_S_MAX)
        return answer_of(done.result()) if done.done() else None

    # --- The broker ------------------------------------------------------------------------------------------------

    async def published(self, name: str, messages: Sequence[OutboundMessage]) -> None:
        """Loymax publishes until the broker has confirmed."""
        while not await self._publish(messages):  # noqa: ASYNC110 - it is at a broker
            await asyncio.sleep(self.chance.between(0.1, 0.5, "publish again", name))
        self.told.accepted += [("loymax", one.payload) for one in messages]
        self.told.sent["loymax"] += len(messages)

    async def _publish(self, messages: Sequence[OutboundMessage]) -> bool:
        life = self.life
        if life is None or life.gate.is_dead or life.hub is None:
            return False
        hub = life.hub
        token = IN_HUB.set(1)
        try:
            task = asyncio.create_task(hub.transport.publish(messages))
        finally:
            IN_HUB.reset(token)
        await asyncio.wait({task})
        if task.cancelled():
            return False
        error = task.exception()
        if isinstance(error, Crash | StoreUnavailableError | TransportUnavailableError):
            return False
        return all(isinstance(one, Confirmed) for one in task.result())

    def background(self, work: Awaitable[None]) -> None:
        """Something of the world that goes on beside the steps."""
        self._watch(asyncio.ensure_future(work))


def bearer(user: str) -> dict[str, str]:
    """What a user of the wallet shows."""
    token = jwt.encode({"sub": user, "iat": 0, "exp": 2**33}, JWT_SECRET, algorithm="HS256")
    return {**JSON, "Authorization": f"Bearer {token}"}


def cloud_batch(source: str, events: Sequence[tuple[str, str, bytes]]) -> bytes:
    """A batch of CloudEvents around these bytes: type, id, data."""
    one_by_one = [
        b'{"specversion":"1.0","source":"%s","type":"%s","id":"%s","data":%s}'
        % (source.encode(), type_.encode(), id_.encode(), body)
        for type_, id_, body in events
    ]
    return b"[%s]" % b",".join(one_by_one)


def request_of(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """One request on a connection of its own."""
    lines = [f"POST {path} HTTP/1.1", "Host: hub", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer_of(data: bytes) -> Answer | None:
    """A whole answer; None where it was cut off."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if len(body) != int(fields.get("content-length", "-1")):
        return None
    return Answer(int(lines[0].split()[1]), body)
