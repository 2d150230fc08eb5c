"""Where transaction files are kept: a folder, and S3 as a real server speaks it. Both pass the same tests."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import LocalStore, ObjectStore, S3Store

from handlers.paypay.files_fetching import IN_MEMORY_MAX
from handlers.paypay.files_store import FileStore
from handlers.paypay.settings import PayPaySettings
from hub import storage
from hub.storage import ObjectLostError, StorageError

KEY = "paypay/transaction_recon/900000000000000001/2024/01/01/transaction.csv"
CONTENT = b"\x82\xa0,1\n"


@dataclass(frozen=True)
class Place:
    """A storage: its settings, and what is in it."""

    settings: PayPaySettings
    folder: Path

    def keys(self) -> list[str]:
        return sorted(one["path"] for page in obstore.list(self._inside) for one in page)

    def spoil(self, key: str, content: bytes | None) -> None:
        """Somebody changes what is kept, or takes it away."""
        if content is None:
            obstore.delete(self._inside, key)
        else:
            obstore.put(self._inside, key, content)

    @property
    def _inside(self) -> ObjectStore:
        if not self.settings.file_store.startswith("s3:"):
            return LocalStore(self.folder)
        bucket, _, prefix = self.settings.file_store.removeprefix("s3://").partition("/")
        return S3Store(
            bucket,
            prefix=prefix,
            endpoint=self.settings.file_store_endpoint,
            region="us-east-1",
            access_key_id="key",
            secret_access_key="secret",
            client_options={"allow_http": True},
        )


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place(PayPaySettings.model_validate({"hub_home": tmp_path}), tmp_path / "files")
    url, bucket = request.getfixturevalue("s3_url"), f"files-{uuid4()}"
    made = urllib.request.Request(f"{url}/{bucket}", method="PUT")
    with urllib.request.urlopen(made, timeout=30):
        return Place(settings_of(url, bucket), tmp_path)


def settings_of(url: str, bucket: str) -> PayPaySettings:
    return PayPaySettings.model_validate(
        {
            "file_store": f"s3://{bucket}/hub",
            "file_store_endpoint": url,
            "file_store_region": "us-east-1",
            "file_store_access_key_id": "key",
            "file_store_secret_access_key": "secret",
        }
    )


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def keep(store: FileStore, content: bytes) -> str:
    return await store.keep(KEY, io.BytesIO(content), hash_of(content))


async def content_of(store: FileStore, key: str, content: bytes) -> bytes:
    async with store.content(key, hash_of(content)) as kept:
        return kept.read()


async def test_a_file_comes_back_as_it_was_kept(place: Place) -> None:
    store = FileStore(place.settings)

    assert await keep(store, CONTENT) == KEY

    assert await content_of(store, KEY, CONTENT) == CONTENT
    assert place.keys() == [KEY]


async def test_a_file_that_goes_up_in_parts_comes_back_whole(place: Place) -> None:
    store, content = FileStore(place.settings), b"0123456789abcdef" * (IN_MEMORY_MAX // 16 + 1)

    await keep(store, content)

    assert await content_of(store, KEY, content) == content


async def test_kept_again_it_is_kept_once_and_another_content_stands_beside_it(place: Place) -> None:
    store, other = FileStore(place.settings), b"another"

    names = [await keep(store, one) for one in (CONTENT, CONTENT, other, other, CONTENT)]

    aside = names[2]
    assert names == [KEY, KEY, aside, aside, KEY]
    assert place.keys() == sorted([KEY, aside])
    assert await content_of(store, KEY, CONTENT) == CONTENT
    assert await content_of(store, aside, other) == other


async def test_of_two_that_are_kept_at_once_none_takes_the_others_place(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other, looks = FileStore(place.settings), b"another", 0
    await keep(store, other)
    look = FileStore._hash_of

    async def too_early(self: FileStore, key: str) -> str | None:
        """The first look was before the other one was put."""
        nonlocal looks
        looks += 1
        return None if looks == 1 else await look(self, key)

    monkeypatch.setattr(FileStore, "_hash_of", too_early)
    aside = await keep(store, CONTENT)

    assert place.keys() == sorted([KEY, aside])
    assert await content_of(store, KEY, other) == other
    assert await content_of(store, aside, CONTENT) == CONTENT


async def test_what_was_changed_or_lost_in_the_storage_is_noticed(place: Place) -> None:
    store = FileStore(place.settings)
    await keep(store, CONTENT)

    place.spoil(KEY, b"forged")
    with pytest.raises(ObjectLostError, match="another content"):
        await content_of(store, KEY, CONTENT)

    place.spoil(KEY, None)
    with pytest.raises(ObjectLostError, match="no such object"):
        await content_of(store, KEY, CONTENT)


async def test_a_storage_that_answers_is_looked_at_and_left_as_it_is(place: Place) -> None:
    await FileStore(place.settings).look()

    assert place.keys() == []


async def test_a_bucket_that_is_not_there_is_told(s3_url: str) -> None:
    store = FileStore(settings_of(s3_url, "gone"))

    with pytest.raises(StorageError, match="no such bucket"):
        await keep(store, CONTENT)
    with pytest.raises(StorageError):
        await store.look()


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "paypay").write_text("a file where a folder should be")

    with pytest.raises(StorageError, match="does not answer"):
        await keep(FileStore(PayPaySettings.model_validate({"file_store": str(tmp_path)})), CONTENT)


async def test_what_another_process_has_kept_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(storage, "_flush", lambda _folder, name: flushed.append(name))
    files = FileStore(PayPaySettings(file_store=str(tmp_path)))

    for _ in range(2):
        await files.keep(KEY, io.BytesIO(CONTENT), hashlib.sha256(CONTENT).hexdigest())

    assert flushed == [KEY, KEY], "who put it there the first time may have ended before it was"
