"""What the interpreter is told, as far as it can be seen from outside."""

from __future__ import annotations

import subprocess
import sys

_READ = """\
import asyncio, socket
from hub.cli.interpreter import settle_interpreter

class Reader(asyncio.Protocol):
    def __init__(self) -> None:
        self.sizes = []
    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))

async def main() -> None:
    loop = asyncio.get_running_loop()
    ours, other = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    _, reader = await loop.create_connection(Reader, sock=ours)
    other.send(bytes(100 * 1024))
    while sum(reader.sizes) < 100 * 1024:
        await asyncio.sleep(0)
    print(max(reader.sizes))

settle_interpreter()
asyncio.run(main())
"""


def test_a_connection_reads_what_came_by_64_kib() -> None:
    # In a process of its own: what it is told holds for all that runs in it.
    told = subprocess.run([sys.executable, "-c", _READ], capture_output=True, text=True, check=True, timeout=30)

    assert int(told.stdout) == 64 * 1024
