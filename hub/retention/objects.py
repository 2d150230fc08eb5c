"""Objects of the archive: many events each, compressed, under a name that says what is in it."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hub.errors import PermanentError
from hub.retention.record import FORMAT, EventRecord, from_line, to_line
from hub.storage import ObjectLostError, Storage

LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class Packed:
    """One object, ready to be written."""

    name: str
    content: bytes
    sha256: bytes
    records: Sequence[EventRecord]


def pack(records: Sequence[EventRecord], at: datetime) -> Packed:
    """These events as one object. The same events under the same month have the same name and content."""
    lines = [json.dumps(FORMAT, sort_keys=True).encode() + b"\n", *(to_line(one) for one in records)]
    content = gzip.compress(b"".join(lines), LEVEL, mtime=0)
    sha256 = hashlib.sha256(content).digest()
    seqs = [one.seq for one in records if one.seq is not None]
    place = f"{seqs[0]:012d}-{seqs[-1]:012d}" if seqs else "late"
    return Packed(f"events/{at:%Y}/{at:%m}/{place}-{sha256.hex()[:16]}.jsonl.gz", content, sha256, records)


async def write(storage: Storage, packed: Packed) -> None:
    """Write the object and read it back. Raises StorageError, ObjectLostError where another content comes back."""
    await storage.put(packed.name, packed.content)
    await read(storage, packed.name, packed.sha256)


async def read(storage: Storage, name: str, sha256: bytes) -> bytes:
    """The object as it was written. Raises StorageError, ObjectLostError where it is gone or another."""
    content = await storage.get(name)
    if hashlib.sha256(content).digest() != sha256:
        raise ObjectLostError(f"{name}: the archive holds another content than was put there")
    return content


def unpack(content: bytes) -> Iterator[EventRecord]:
    """The events in an object. Raises PermanentError when it is none of ours."""
    try:
        head, *lines = gzip.decompress(content).splitlines()
        said = json.loads(head)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise PermanentError(f"an object of the archive cannot be read: {type(error).__name__}") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT["format"] or said.get("version") != FORMAT["version"]:
        raise PermanentError("an object of the archive is of a format that this program does not know")
    return (from_line(line) for line in lines)
