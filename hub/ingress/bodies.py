"""Reading request bodies: never more than allowed, never slower than allowed, never more in all than memory is for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from hub.errors import RefusedRequestError
from hub.inbox.received import OverloadedError

COME_AGAIN_S = 1.0


class BodyRefusedError(RefusedRequestError):
    """The body is not read; ``status`` is the answer, ``result`` its name in the metrics."""

    def __init__(self, status: int, result: str, message: str) -> None:
        super().__init__(status, message)
        self.result = result


class Room:
    """What may be in hand at once: so many requests, so many bytes of bodies. Counted on one event loop."""

    def __init__(self, *, requests_max: int, bytes_max: int) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Room for one request, given back at the end. Raises OverloadedError when there is none."""
        if self.requests >= self._requests_max:
            raise OverloadedError("too many requests in hand", delay_s=COME_AGAIN_S)
        self.requests += 1
        share = Share(self)
        try:
            yield share
        finally:
            self.requests -= 1
            self.bytes -= share.bytes

    def take_whole(self, size: int) -> bool:
        """Room for a request whose whole body has come, until ``give_back``; False where there is none."""
        if self.requests >= self._requests_max or self.bytes + size > self._bytes_max:
            return False
        self.requests += 1
        self.bytes += size
        return True

    def give_back(self, size: int) -> None:
        """A request that took its whole room at once is done."""
        self.requests -= 1
        self.bytes -= size

    def take(self, size: int) -> None:
        """Room for so many bytes more. Raises OverloadedError when there is none."""
        if self.bytes + size > self._bytes_max:
            raise OverloadedError("too many bytes in hand", delay_s=COME_AGAIN_S)
        self.bytes += size


class Share:
    """The part of the room that one request has."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.bytes = 0

    def take(self, size: int) -> None:
        """Count ``size`` bytes that have arrived. Raises OverloadedError when there is no room for them."""
        self._room.take(size)
        self.bytes += size


async def read_body(request: web.Request, share: Share, *, bytes_max: int, seconds: float) -> bytes:
    """The whole body, as sent.

    Raises: BodyRefusedError for one that is too large (413), too slow (408), compressed (415) or broken (400);
    OverloadedError when there is no room; ConnectionError when the sender has gone.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        # Unpacked, a small body can become a huge one; and the signature covers what we would have to unpack.
        raise BodyRefusedError(415, "compressed", "expected a body without Content-Encoding")
    too_large = BodyRefusedError(413, "too_large", f"expected at most {bytes_max} bytes")
    if request.content_length is not None and request.content_length > bytes_max:
        raise too_large
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.content.iter_any():
                share.take(len(chunk))
                if share.bytes > bytes_max:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError as error:
        raise BodyRefusedError(408, "slow", f"expected the whole body within {seconds:g} s") from error
    except web.RequestPayloadError as error:
        raise BodyRefusedError(400, "broken", "the body ends early or is not framed as it says") from error
    return b"".join(chunks)
