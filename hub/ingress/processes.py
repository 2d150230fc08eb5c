"""The processes that share one address (``hub run --workers``): a scrape meets any of them, and is told of all.

Each answers its own figures on a socket of a directory that only they know. The one that is asked over HTTP collects
them, and gives every figure the label ``process``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

ANSWER_S_MAX: Final = 2.0
"""How long a process may take; one that does not answer is left out, and its series end for this scrape."""
BYTES_MAX: Final = 32 * 1024 * 1024
LABEL: Final = "process"
_SUFFIX: Final = ".metrics"

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.ingress")


class Processes:
    """This process, the ``number``-th, among those of ``directory``."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory = directory
        self._number = number
        self._server: asyncio.Server | None = None

    async def start(self, own: Callable[[], bytes]) -> None:
        """Answer the others with ``own`` figures."""

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    writer.write(own())
                    await writer.drain()
            except (OSError, TimeoutError) as error:
                log.debug("metrics_not_told", error=type(error).__name__)
            finally:
                await _closed(writer)

        path = self._path(self._number)
        # What a former process of this number has left behind.
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(answer, path)

    async def stop(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._path(self._number).unlink(missing_ok=True)

    async def merged(self, own: bytes) -> bytes:
        """The figures of all processes that answer, each with its number; ``own`` are this one's."""
        others = [number for number in self._numbers() if number != self._number]
        told = await asyncio.gather(*(self._ask(number) for number in others))
        texts = {self._number: own} | {number: text for number, text in zip(others, told, strict=True) if text}
        # Reading them back takes a while where there are many: other requests go on meanwhile.
        return await asyncio.to_thread(generate_latest, _Together(texts))

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}{_SUFFIX}"

    def _numbers(self) -> list[int]:
        names = [path.name.removesuffix(_SUFFIX) for path in self._directory.glob(f"*{_SUFFIX}")]
        return sorted(int(name) for name in names if name.isdigit())

    async def _ask(self, number: int) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    return await _all_of(reader)
                finally:
                    await _closed(writer)
        except (OSError, TimeoutError, ValueError) as error:
            log.warning("metrics_of_process_missing", process=number, error=type(error).__name__)
            return b""


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    text = b""
    while chunk := await reader.read(1 << 16):
        text += chunk
        if len(text) > BYTES_MAX:
            raise ValueError("more than any process has to tell")
    return text


class _Together(Collector):
    """The figures of several processes, each family once."""

    def __init__(self, texts: dict[int, bytes]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for number, text in sorted(self._texts.items()):
            for family in text_string_to_metric_families(text.decode()):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    merged.samples.append(sample._replace(labels={**sample.labels, LABEL: str(number)}))
        return families.values()
