"""Where transaction files are kept, byte for byte, in the hub's object storage.

What is kept is never overwritten: another content under a known name gets a name of its own. Source:
docs/providers/paypay.md, "Transaction files".
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import IO, Final

from handlers.paypay.files_fetching import IN_MEMORY_MAX
from handlers.paypay.settings import PayPaySettings
from hub.storage import ObjectLostError, Storage, StoragePlace

ASK_S_MAX: Final = 30.0
NAME_MAX: Final = 200
HASH_SHOWN: Final = 12
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def storage_key(file_type: str, merchant_id: str, day: date, file_name: str) -> str:
    """Where a file is kept: nothing of what a notice says can lead out of its place."""
    parts = (file_type, merchant_id, f"{day:%Y}", f"{day:%m}", f"{day:%d}", file_name)
    return "/".join(("paypay", *(plain_name(part) for part in parts)))


def plain_name(text: str) -> str:
    """The text as one part of a key: ``[A-Za-z0-9._-]``, never empty, never a folder above."""
    return _STRANGE.sub("", text).lstrip(".")[-NAME_MAX:] or "unnamed"


class FileStore:
    """The storage that the settings name."""

    def __init__(self, settings: PayPaySettings) -> None:
        self._storage = Storage(
            StoragePlace(
                place=settings.store,
                endpoint=settings.file_store_endpoint,
                region=settings.file_store_region,
                access_key_id=settings.file_store_access_key_id,
                secret_access_key=settings.file_store_secret_access_key.get_secret_value(),
                ask_s_max=ASK_S_MAX,
            )
        )

    async def keep(self, key: str, content: IO[bytes], sha256: str) -> str:
        """Keep the file; answers with the key that it is kept under.

        Kept again under the same key, it changes nothing. Raises StorageError.
        """
        for name in (key, _aside(key, sha256)):
            kept = await self._hash_of(name)
            if kept is None:
                if await self._storage.create(name, content):
                    return name
                kept = await self._hash_of(name)
            if kept == sha256:
                await self._storage.flush(name)
                return name
        raise ObjectLostError(f"{key}: two other files are kept under this name")

    async def look(self) -> None:
        """Ask the storage for what is not there: whether it answers, and has our bucket. Raises StorageError."""
        await self._storage.look("paypay/hub-doctor")

    @asynccontextmanager
    async def content(self, key: str, sha256: str) -> AsyncIterator[IO[bytes]]:
        """The file, proven to be what was kept, at its beginning. Raises StorageError, ObjectLostError."""
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX) as content:
            digest = hashlib.sha256()
            async for chunk in self._storage.chunks(key):
                digest.update(chunk)
                content.write(chunk)
            if digest.hexdigest() != sha256:
                raise ObjectLostError(f"{key}: the storage holds another content than was put there")
            content.seek(0)
            yield content

    async def _hash_of(self, key: str) -> str | None:
        """The hash of what is kept under a key; None when nothing is."""
        digest = hashlib.sha256()
        try:
            async for chunk in self._storage.chunks(key):
                digest.update(chunk)
        except ObjectLostError:
            return None
        return digest.hexdigest()


def _aside(key: str, sha256: str) -> str:
    folder, _, name = key.rpartition("/")
    return f"{folder}/{sha256[:HASH_SHOWN]}-{name}"
