"""Where transaction files are kept, byte for byte: a folder, or S3-compatible storage, by one library.

What is kept is never overwritten: another content under a known name gets a name of its own. Source:
docs/providers/paypay.md, "Transaction files".
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from handlers.paypay.files_fetching import CHUNK, IN_MEMORY_MAX
from handlers.paypay.settings import PayPaySettings
from hub.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from obstore.store import LocalStore, S3Store

ASK_S_MAX: Final = timedelta(seconds=30)
NAME_MAX: Final = 200
HASH_SHOWN: Final = 12
_STRANGE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class StoreError(RetryableError):
    """The storage of files does not answer, or refuses; nothing was changed."""


class FileLostError(PermanentError):
    """What the storage holds is not what was put there."""


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
        self._store = _opened(
            settings.store,
            settings.file_store_endpoint,
            settings.file_store_region,
            settings.file_store_access_key_id,
            settings.file_store_secret_access_key.get_secret_value(),
        )

    async def keep(self, key: str, content: IO[bytes], sha256: str) -> str:
        """Keep the file; answers with the key that it is kept under.

        Kept again under the same key, it changes nothing. Raises StoreError.
        """
        with _translated("there is no such bucket or folder"):
            for name in (key, _aside(key, sha256)):
                kept = await self._hash_of(name)
                if kept is None:
                    if await self._is_put(name, content):
                        return name
                    kept = await self._hash_of(name)
                if kept == sha256:
                    return name
        raise FileLostError(f"{key}: two other files are kept under this name")

    async def _is_put(self, key: str, content: IO[bytes]) -> bool:
        """Put the file where nothing is; False where something is by now, which stays as it is."""
        import obstore  # noqa: PLC0415 - a library of many megabytes, for those who fetch files
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 - as above

        content.seek(0)
        try:
            await obstore.put_async(self._store, key, content, mode="create")
        except (AlreadyExistsError, FileExistsError):
            return False
        return True

    async def look(self) -> None:
        """Ask the storage for what is not there: whether it answers, and has our bucket. Raises StoreError."""
        import obstore  # noqa: PLC0415 - as above

        with _translated("there is no such bucket or folder"):
            async for _ in obstore.list(self._store, "paypay/hub-doctor", chunk_size=1):
                break

    @asynccontextmanager
    async def content(self, key: str, sha256: str) -> AsyncIterator[IO[bytes]]:
        """The file, proven to be what was kept, at its beginning. Raises StoreError, FileLostError."""
        import obstore  # noqa: PLC0415 - as above

        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX) as content:
            digest = hashlib.sha256()
            with _translated(""):
                found = await obstore.get_async(self._store, key)
                async for chunk in found.stream(min_chunk_size=CHUNK):
                    digest.update(chunk)
                    content.write(chunk)
            if digest.hexdigest() != sha256:
                raise FileLostError(f"{key}: the storage holds another content than was put there")
            content.seek(0)
            yield content

    async def _hash_of(self, key: str) -> str | None:
        """The hash of what is kept under a key; None when nothing is."""
        import obstore  # noqa: PLC0415 - as above
        from obstore.exceptions import NotFoundError  # noqa: PLC0415 - as above

        digest = hashlib.sha256()
        try:
            found = await obstore.get_async(self._store, key)
            async for chunk in found.stream(min_chunk_size=CHUNK):
                digest.update(chunk)
        except (NotFoundError, FileNotFoundError):
            return None
        return digest.hexdigest()


class _translated:  # noqa: N801 - reads as a word in a with statement
    """What the library raises, as an error of the hub's; ``absent`` says what *not found* means."""

    def __init__(self, absent: str) -> None:
        self._absent = absent

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from obstore.exceptions import BaseError, NotFoundError  # noqa: PLC0415 - as above

        if isinstance(error, NotFoundError | FileNotFoundError):
            if self._absent:
                raise StoreError(f"the storage of files: {self._absent}") from error
            raise FileLostError("the storage does not hold the file any more") from error
        if isinstance(error, BaseError | OSError):
            # Its text may name addresses and buckets, and quotes answers: the kind says enough.
            raise StoreError(f"the storage of files does not answer: {type(error).__name__}") from error


def _aside(key: str, sha256: str) -> str:
    folder, _, name = key.rpartition("/")
    return f"{folder}/{sha256[:HASH_SHOWN]}-{name}"


@cache
def _opened(place: str, endpoint: str, region: str, key_id: str, secret: str) -> LocalStore | S3Store:
    from obstore.store import LocalStore, S3Store  # noqa: PLC0415 - as above

    if not place.startswith("s3://"):
        return LocalStore(Path(place), mkdir=True)
    parts = urlsplit(place)
    more: dict[str, Any] = {
        name: value
        for name, value in (
            ("endpoint", endpoint),
            ("region", region),
            ("access_key_id", key_id),
            ("secret_access_key", secret),
        )
        if value
    }
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        virtual_hosted_style_request=not endpoint,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=5),
            "timeout": ASK_S_MAX,
        },
        retry_config={"max_retries": 3, "retry_timeout": ASK_S_MAX},
        **more,
    )
