"""Objects in a folder, and in S3 as a real server speaks it. Both pass the same tests."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer

from hub.storage import ObjectLostError, Storage, StorageError, StoragePlace

NAME = "events/2026/11/000000000001-000000000002-abc.jsonl.gz"
CONTENT = b"\x00\xff" * 10
SECRET = "a-secret-of-the-storage"


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def in_s3(url: str, bucket: str) -> StoragePlace:
    return StoragePlace(
        place=f"s3://{bucket}/hub",
        endpoint=url,
        region="us-east-1",
        access_key_id="key",
        secret_access_key=SECRET,
    )


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StoragePlace:
    if request.param == "folder":
        return StoragePlace(place=str(tmp_path / "deep/archive"))
    url, bucket = request.getfixturevalue("s3_url"), f"archive-{uuid4()}"
    with urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}", method="PUT"), timeout=30):
        return in_s3(url, bucket)


async def test_an_object_comes_back_as_it_was_put_also_elsewhere_and_again(place: StoragePlace) -> None:
    await Storage(place).put(NAME, CONTENT)
    await Storage(place).put(NAME, CONTENT)

    assert await Storage(place).get(NAME) == CONTENT
    with pytest.raises(ObjectLostError, match="no such object"):
        await Storage(place).get(f"{NAME}.other")


async def test_a_storage_that_cannot_be_had_says_so_without_its_address(tmp_path: Path, s3_url: str) -> None:
    (tmp_path / "file").write_text("")
    for place, error in (
        (StoragePlace(place=str(tmp_path / "file")), StorageError),
        (in_s3("http://127.0.0.1:9", "archive"), StorageError),
        (in_s3(s3_url, "no-such-bucket"), ObjectLostError),
    ):
        with pytest.raises(error) as refused:
            await Storage(place).put(NAME, CONTENT)
        assert SECRET not in repr(place)
        assert "127.0.0.1" not in str(refused.value)


async def test_a_folder_is_for_nobody_else(tmp_path: Path) -> None:
    await Storage(StoragePlace(place=str(tmp_path / "archive"))).put(NAME, CONTENT)

    assert (tmp_path / "archive").stat().st_mode & 0o077 == 0
