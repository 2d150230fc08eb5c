"""The load: webhooks from a process of its own, so that the hub's processor time is the hub's alone.

    python -m benchmarks.load URL KEY COUNT CONNECTIONS

Prints one JSON object: seconds, events, repeats, and the acknowledgement times in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import aiohttp

CUSTOMERS = 1_000
REPEAT_EVERY = 100
PADDING = "x" * 420
"""Makes a body about 550 bytes, the size of a real purchase event."""


def bodies(count: int) -> Iterator[bytes]:
    """The webhooks' bodies; one in a hundred is sent twice."""
    for number in range(count):
        body = {
            "id": f"t{number}",
            "customer": f"c{number % CUSTOMERS}",
            "amount": 1_000 + number % 7,
            "booked_at": "2026-11-21T09:35:00Z",
            "note": PADDING,
        }
        data = json.dumps(body).encode()
        yield data
        if number % REPEAT_EVERY == 0:
            yield data


async def send_all(url: str, key: str, count: int, connections: int) -> dict[str, object]:
    """Send every body once over ``connections`` connections, each waiting for its answer before it sends the next."""
    source = bodies(count)
    acks: list[float] = []
    headers = {"Authorization": f"Apikey {key}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:

        async def sender() -> None:
            for body in source:
                start = time.perf_counter()
                async with http.post(url, data=body) as response:
                    answer = await response.read()
                    if response.status != 200 or answer != b'{"success": true}':
                        raise RuntimeError(f"unexpected answer {response.status} {answer[:200]!r}")
                acks.append((time.perf_counter() - start) * 1000)

        start = time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(connections)))
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "requests": len(acks), "acks_ms": sorted(acks)}


if __name__ == "__main__":
    target, secret, number, width = sys.argv[1:5]
    print(json.dumps(asyncio.run(send_all(target, secret, int(number), int(width)))))
