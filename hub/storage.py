"""Object storage: a folder, or S3 and what speaks like it, by one library.

Objects are never changed: what is ``put`` under a known name is the same content, and ``create`` leaves alone what is
there. What either has answered is on the disk, also after a loss of power.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from hub.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from obstore.store import LocalStore, S3Store

CONNECT_S_MAX: Final = timedelta(seconds=5)
RETRIES: Final = 3
CHUNK: Final = 256 * 1024


class StorageError(RetryableError):
    """The object storage does not answer, or refuses; what was asked for may be tried again."""


class ObjectLostError(PermanentError):
    """The object storage does not hold the object, or holds another content than was put there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePlace:
    """Where objects are: a folder's path, or ``s3://BUCKET/PREFIX`` with what S3 wants to know."""

    place: str
    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    ask_s_max: float = 60.0
    """How long one request may take, tried again where that helps."""

    @property
    def is_folder(self) -> bool:
        return not self.place.startswith("s3://")


class Storage:
    """One place for objects. Nothing is opened before it is used."""

    def __init__(self, place: StoragePlace) -> None:
        self._place = place

    def __repr__(self) -> str:
        return "Storage(folder)" if self._place.is_folder else "Storage(s3)"

    async def put(self, name: str, content: bytes) -> None:
        """Keep the content under this name. Again with the same content it changes nothing. Raises StorageError."""
        import obstore  # noqa: PLC0415 - a library of many megabytes, for those who have an archive

        with _translated():
            await obstore.put_async(self._opened, name, content)
        if self._place.is_folder:
            await asyncio.to_thread(_flush, Path(self._place.place), name)

    async def create(self, name: str, content: IO[bytes]) -> bool:
        """Keep the content under a new name; False where something is by now, which stays as it is.

        Raises StorageError, also where there is no bucket: it may be made.
        """
        import obstore  # noqa: PLC0415 - as above
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 - as above

        content.seek(0)
        with _translated(is_bucket=True):
            try:
                await obstore.put_async(self._opened, name, content, mode="create")
            except (AlreadyExistsError, FileExistsError):
                return False
        await self.flush(name)
        return True

    async def flush(self, name: str) -> None:
        """Return when what is kept under this name is on the disk: who put it there may have ended before it was.

        Raises StorageError.
        """
        if self._place.is_folder:
            with _translated():
                await asyncio.to_thread(_flush, Path(self._place.place), name)

    async def look(self, folder: str) -> None:
        """Ask for a folder that need not be there: whether the storage answers, and has our bucket. Raises
        StorageError.
        """
        import obstore  # noqa: PLC0415 - as above

        with _translated(is_bucket=True):
            async for _ in obstore.list(self._opened, folder, chunk_size=1):
                break

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        """The object's content, piece by piece. Raises ObjectLostError where there is none, StorageError."""
        import obstore  # noqa: PLC0415 - as above

        with _translated():
            found = await obstore.get_async(self._opened, name)
            async for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    async def get(self, name: str) -> bytes:
        """The object's content. Raises ObjectLostError where there is none, StorageError."""
        import obstore  # noqa: PLC0415 - as above

        with _translated():
            found = await obstore.get_async(self._opened, name)
            return bytes(await found.bytes_async())

    @cached_property
    def _opened(self) -> LocalStore | S3Store:
        if self._place.is_folder:
            from obstore.store import LocalStore  # noqa: PLC0415 - as above

            # For nobody else: what was received is in it.
            folder = Path(self._place.place)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return LocalStore(folder)
        return _bucket(self._place)


@lru_cache(maxsize=8)
def _bucket(place: StoragePlace) -> S3Store:
    """A bucket with its connections, which all who use it share."""
    from obstore.store import S3Store  # noqa: PLC0415 - as above

    parts = urlsplit(place.place)
    # What is not given comes from the machine: its role, its region.
    names = ("endpoint", "region", "access_key_id", "secret_access_key")
    given: dict[str, Any] = {name: getattr(place, name) for name in names if getattr(place, name)}
    longest = timedelta(seconds=place.ask_s_max)
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        virtual_hosted_style_request=not place.endpoint,
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": CONNECT_S_MAX,
            "timeout": longest,
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": longest},
        **given,
    )


class _translated:  # noqa: N801 - reads as a word in a with statement
    """What the library raises, as an error of the hub's. ``is_bucket``: what is not there can only be the bucket."""

    def __init__(self, *, is_bucket: bool = False) -> None:
        self._is_bucket = is_bucket

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from obstore.exceptions import BaseError, NotFoundError  # noqa: PLC0415 - as above

        if isinstance(error, NotFoundError | FileNotFoundError) and self._is_bucket:
            raise StorageError("the object storage has no such bucket or folder") from error
        if isinstance(error, NotFoundError | FileNotFoundError):
            raise ObjectLostError("the object storage has no such object, or no such bucket or folder") from error
        if isinstance(error, BaseError | OSError):
            # Its text may name addresses and buckets, and quotes answers: the kind says enough.
            raise StorageError(f"the object storage does not answer: {type(error).__name__}") from error


def _flush(folder: Path, name: str) -> None:
    """Bring a file and the folders that name it to the disk. Raises StorageError."""
    parents = [folder / parent for parent in PurePosixPath(name).parents]
    try:
        for path in (folder / name, *parents):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise StorageError(f"the object storage does not answer: {type(error).__name__}") from error
