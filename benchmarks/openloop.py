"""Load at a fixed rate that waits for nobody, and how long each event took from its due moment to the output queue.

    python -m benchmarks.openloop, with BENCH_BROKER_URL, BENCH_EXCHANGE_IN (or BENCH_QUEUE_IN), BENCH_QUEUE_OUT,
    BENCH_PREFIX, BENCH_RATE, BENCH_SECONDS, BENCH_POISON_EVERY

An event that is late because the load or the worker is behind counts from when it was due. Prints one JSON object with
times in milliseconds; the first second is not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import time

from benchmarks.load import Load
from benchmarks.rawamqp import RawChannel, connect

WARM_UP_S = 1.0
LATE_S_MAX = 60.0


class Watch:
    """When each event was due and when it arrived, by number."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.due_s: dict[str, float] = {}
        self.late_ms: list[float] = []
        self._start = 0.0

    def saw(self, body: bytes) -> None:
        now = time.perf_counter()
        event_id = json.loads(body)["id"]
        due = self.due_s.pop(event_id, None)
        # A repeat of a message has been counted, and what another phase left is not ours.
        if due is not None and due > self._start + WARM_UP_S:
            self.late_ms.append((now - due) * 1000)

    async def send(self, channel: RawChannel, rate: float, *, exchange: str, routing_key: str) -> None:
        """Send each event when it is due."""
        self._start = time.perf_counter()
        for number in range(self.load.events):
            due = self._start + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            event_id = self.load.id_of(number)
            if not self.load.is_poison(number):
                self.due_s[event_id] = due
            times = 2 if self.load.is_repeated(number) else 1
            for _ in range(times):
                await channel.publish(event_id, self.load.body(number), exchange=exchange, routing_key=routing_key)


async def measure(broker_url: str, load: Load, rate: float) -> dict[str, float]:
    """Send and watch. Raises TimeoutError when messages are missing a minute after the last was sent."""
    exchange, queue_in = os.environ.get("BENCH_EXCHANGE_IN", ""), os.environ.get("BENCH_QUEUE_IN", "")
    watch = Watch(load)
    async with connect(broker_url) as sending, connect(broker_url) as watching:
        await watching.start_consuming(os.environ["BENCH_QUEUE_OUT"])
        expected = load.events - load.poisoned
        timeout_s = load.events / rate + LATE_S_MAX
        async with asyncio.TaskGroup() as group:
            group.create_task(watching.take(expected, watch.saw, timeout_s=timeout_s))
            group.create_task(watch.send(sending, rate, exchange=exchange, routing_key=queue_in or "bench.deposit"))
    late = sorted(watch.late_ms)
    return {
        "p50_ms": late[len(late) // 2],
        "p99_ms": late[int(len(late) * 0.99)],
        "max_ms": late[-1],
        "samples": len(late),
    }


if __name__ == "__main__":
    wanted = float(os.environ["BENCH_RATE"])
    sent = Load(
        events=int(wanted * float(os.environ["BENCH_SECONDS"])),
        prefix=os.environ["BENCH_PREFIX"],
        poison_every=int(os.environ.get("BENCH_POISON_EVERY", "0")),
    )
    print(json.dumps(asyncio.run(measure(os.environ["BENCH_BROKER_URL"], sent, wanted))))
