"""Webhooks from a process of its own, over raw keep-alive connections, so that the sender costs as little as it can.

    python -m benchmarks.httpload, with BENCH_PORT, BENCH_EVENTS, BENCH_PREFIX and BENCH_CONNECTIONS

Each connection waits for its answer before it sends the next request. Prints one JSON object: seconds from the first
request to the last answer, how many requests, the acknowledgement times, and the moment of the first request on the
system's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator

from benchmarks.baselines.models import signature_of
from benchmarks.load import Load
from benchmarks.wiring import PATH, SECRET

ANSWER_S_MAX = 30.0


def requests(load: Load) -> list[bytes]:
    """Every request, signed beforehand."""
    secret = SECRET.encode()
    made = []
    for _, body in load.messages():
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"X-Signature: {signature_of(secret, body)}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def send_all(port: int, load: Load, connections: int) -> dict[str, float]:
    """Send every request once. Raises RuntimeError for an answer that is not 200."""
    source = iter(requests(load))
    acks_s: list[float] = []
    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_sender(port, source, acks_s))
    end = time.monotonic()
    acks_s.sort()
    return {
        "started_at_s": start,
        "ended_at_s": end,
        "requests": len(acks_s),
        "ack_p50_ms": acks_s[len(acks_s) // 2] * 1000,
        "ack_p99_ms": acks_s[int(len(acks_s) * 0.99)] * 1000,
    }


async def _sender(port: int, source: Iterator[bytes], acks_s: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for request in source:
            start = time.monotonic()
            writer.write(request)
            async with asyncio.timeout(ANSWER_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length_of(head))
            if not head.startswith(b"HTTP/1.1 200") or json.loads(body) != {"success": True}:
                raise RuntimeError(f"unexpected answer {head[:40]!r} {body[:200]!r}")
            acks_s.append(time.monotonic() - start)
    finally:
        writer.close()


def _length_of(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError(f"an answer without a length: {head[:200]!r}")


if __name__ == "__main__":
    sent = Load(events=int(os.environ["BENCH_EVENTS"]), prefix=os.environ["BENCH_PREFIX"])
    told = asyncio.run(send_all(int(os.environ["BENCH_PORT"]), sent, int(os.environ["BENCH_CONNECTIONS"])))
    print(json.dumps(told))
