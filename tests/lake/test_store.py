"""The verbs of the object store, the same on a folder, a server in memory and a real server."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pytest

from lake.store import ObjectStore, connect, make_bucket, storage_options
from schemas.errors import ObjectMissing, SettingsError, StoreError, StoreUnreachable
from schemas.settings import Settings, StoreSettings


@pytest.fixture(params=["folder", "moto", pytest.param("weed", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return connect(str(tmp_path / "store"), StoreSettings())
    settings: Settings = request.getfixturevalue(f"{request.param}_settings")
    make_bucket("store-tests", settings.store)
    return connect(f"s3://store-tests/{tmp_path.name}", settings.store)


def test_written_objects_are_listed_read_and_removed(store: ObjectStore) -> None:
    store.put("a/x.txt", b"one")
    store.put("a-b/カオリン 1.txt", b"three")
    found = {each.key: each for each in store.list()}
    assert set(found) == {"a/x.txt", "a-b/カオリン 1.txt"}
    assert (found["a/x.txt"].size, found["a/x.txt"].etag) == (3, store.head("a/x.txt").etag)
    assert found["a/x.txt"].last_modified.tzinfo is not None
    assert [each.key for each in store.list("a")] == ["a/x.txt"]
    assert store.get("a-b/カオリン 1.txt") == b"three"
    store.delete("a/x.txt")
    store.delete("a/x.txt")
    assert not store.exists("a/x.txt")
    with pytest.raises(ObjectMissing, match=r"a/x\.txt"):
        store.get("a/x.txt")


def test_put_if_absent_keeps_the_first(store: ObjectStore) -> None:
    assert store.put_if_absent("k", b"first")
    assert not store.put_if_absent("k", b"second")
    assert store.get("k") == b"first"


def test_an_opened_object_is_a_seekable_file(store: ObjectStore) -> None:
    data = bytes(range(256)) * 40_000
    store.put("big", data)
    with store.open("big") as file:
        assert file.seekable()
        assert file.read(10) == data[:10]
        assert file.seek(-5, io.SEEK_END) == len(data) - 5
        assert file.read() == data[-5:]
        file.seek(4_999_999)
        assert file.read(3) == data[4_999_999:5_000_002]
        file.seek(0)
        assert file.read() == data
        assert file.read(1) == b""


def test_an_archive_is_read_through_an_opened_object(store: ObjectStore) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("run.out")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    store.put("x.tar.gz", packed.getvalue())
    with store.open("x.tar.gz") as file, tarfile.open(fileobj=file) as archive:
        found = archive.extractfile("run.out")
        assert found is not None
        assert found.read() == b"hello"


def test_an_object_replaced_while_it_is_read_is_refused(store: ObjectStore) -> None:
    store.put("x", b"a" * 9_000_000)
    file = store.open("x")
    file.read(1)
    store.put("x", b"b" * 9_000_001)
    file.seek(8_000_000)
    with pytest.raises(StoreError, match="replaced while it was read"):
        file.read()


def test_uploads_keep_metadata_of_any_language(store: ObjectStore, tmp_path: Path) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(b"z" * 9_000_000)
    sent: list[int] = []
    store.upload("p/x.tar", file, {"project": "p", "material": "カオリナイト;kaolinite (100 %)"}, sent.append)
    assert store.metadata("p/x.tar") == {"project": "p", "material": "カオリナイト;kaolinite (100 %)"}
    assert sum(sent) == store.head("p/x.tar").size == 9_000_000
    assert [each.key for each in store.list()] == ["p/x.tar"]


def test_a_store_can_be_pickled(store: ObjectStore) -> None:
    store.put("x", b"1")
    assert pickle.loads(pickle.dumps(store)).get("x") == b"1"


def test_no_answer_is_said_with_the_endpoint_and_without_credentials() -> None:
    store = connect("s3://nowhere", StoreSettings("http://127.0.0.1:9", access_key="key-name", secret_key="very-secret"))
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:9") as caught:
        list(store.list())
    assert "very-secret" not in str(caught.value)
    assert "key-name" not in str(caught.value)


@pytest.mark.s3
def test_refused_credentials_are_said(weed_settings: Settings) -> None:
    settings = StoreSettings(weed_settings.store.endpoint_url, access_key="lakekey", secret_key="wrong")
    with pytest.raises(StoreUnreachable, match="credentials"):
        connect("s3://lake-tests", settings).put("x", b"1")


@pytest.mark.parametrize("url", ["gs://bucket", "s3://"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="s3://BUCKET"):
        connect(url, StoreSettings())


def test_a_store_that_nobody_named_is_told_before_anything_is_asked() -> None:
    with pytest.raises(StoreUnreachable, match="atomlake up"):
        connect("s3://inbox", StoreSettings()).exists("anything")
    with pytest.raises(StoreUnreachable, match="ATOMLAKE_STORE_ENDPOINT_URL"):
        storage_options(StoreSettings())
    assert "aws_endpoint_url" not in storage_options(StoreSettings("aws"))
    assert storage_options(StoreSettings("http://127.0.0.1:1"))["aws_endpoint_url"] == "http://127.0.0.1:1"
