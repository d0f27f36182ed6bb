"""The object store as a few verbs: a bucket (with an optional prefix) of any S3-compatible server, or a local folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import quote, unquote, urlsplit

import boto3
import obstore
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import LocalStore, S3Store

from schemas.errors import ObjectMissing, SettingsError, StoreError, StoreUnreachable
from schemas.settings import StoreSettings
from schemas.sources import InboxObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READ_AHEAD: Final = 4 * 2**20
"""Bytes that one ranged GET of `ObjectStore.open` asks for."""

AWS: Final = "aws"
"""Endpoint that stands for AWS itself."""
PART_BYTES: Final = 8 * 2**20
"""Size of the parts of a multipart upload."""

_METADATA_FOLDER: Final = ".atomlake-metadata"
"""Where a local folder keeps the user metadata that an object has in a bucket."""


class ObjectStore:
    """One bucket and prefix, or one local folder; keys are relative to it. Can be pickled, then connects anew."""

    def __init__(self, url: str, settings: StoreSettings) -> None:
        self.url = url.rstrip("/")
        self.settings = settings
        self.folder = local_folder(url)
        self.bucket, self.prefix = ("", "") if self.folder is not None else _bucket_and_prefix(url)

    def __reduce__(self) -> tuple[Callable[..., ObjectStore], tuple[str, StoreSettings]]:
        return (ObjectStore, (self.url, self.settings))

    def __repr__(self) -> str:
        return f"ObjectStore({self.where!r})"

    @property
    def where(self) -> str:
        """Its URL and endpoint, for messages; never with credentials."""
        endpoint = self.settings.endpoint_url
        return f"{self.url} at {endpoint}" if self.bucket and endpoint else self.url

    def list(self, prefix: str = "") -> Iterator[InboxObject]:
        """Yield the objects under prefix (a folder: 'a/b' does not match 'a/bc'), in no order that may be relied on."""
        with self._translated(prefix):
            for batch in obstore.list(self._store, prefix=prefix or None):
                for meta in batch:
                    if not meta["path"].startswith(_METADATA_FOLDER):
                        yield _inbox_object(meta)

    def head(self, key: str) -> InboxObject:
        """Return what the listing would show of one object; raises ObjectMissing."""
        with self._translated(key):
            return _inbox_object(obstore.head(self._store, key))

    def exists(self, key: str) -> bool:
        """Return whether there is an object of that key."""
        try:
            self.head(key)
        except ObjectMissing:
            return False
        return True

    def get(self, key: str) -> bytes:
        """Return the bytes of an object; raises ObjectMissing."""
        with self._translated(key):
            return bytes(obstore.get(self._store, key).bytes())

    def open(self, key: str, *, read_ahead: int = READ_AHEAD) -> BinaryIO:
        """Return an object as a seekable, buffered file that reads by ranged GETs of read_ahead bytes.

        A changed ETag while reading raises StoreError: no file is ever mixed from two versions.
        """
        found = self.head(key)
        return cast(BinaryIO, io.BufferedReader(_RangeReader(self, found), buffer_size=read_ahead))

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes start:end of an object."""
        with self._translated(key):
            return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def put(self, key: str, data: bytes) -> str:
        """Write an object, over an older one if there is one, and return its ETag."""
        with self._translated(key):
            return _bare_etag(obstore.put(self._store, key, data)["e_tag"])

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object only where there is none (If-None-Match: *) and return whether it was written."""
        with self._translated(key):
            try:
                obstore.put(self._store, key, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    def put_if_match(self, key: str, data: bytes, etag: str) -> bool:
        """Write an object only where its ETag is the one given (If-Match) and return whether it was written.

        Raises StoreError where the store has no such operation (local folders).
        """
        with self._translated(key):
            try:
                obstore.put(self._store, key, data, mode=cast(Any, {"e_tag": f'"{etag}"'}), use_multipart=False)
            except PreconditionError:
                return False
            return True

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with self._translated(key):
            try:
                obstore.delete(self._store, key)
            except (FileNotFoundError, NotFoundError):
                return

    def metadata(self, key: str) -> Mapping[str, str]:
        """Return the user metadata of an object, names in lower case and values decoded; empty where there is none."""
        if self.folder is not None:
            file = self.folder / _METADATA_FOLDER / f"{key}.json"
            return cast(dict[str, str], json.loads(file.read_text())) if file.is_file() else {}
        with self._translated(key):
            found = self._client.head_object(Bucket=self.bucket, Key=self._full(key))["Metadata"]
        return {name.lower(): unquote(value) for name, value in found.items()}

    def upload(self, key: str, file: Path, metadata: Mapping[str, str], progress: Callable[[int], None] | None = None) -> None:
        """Write a local file as an object with user metadata, in parts; progress is called with the bytes sent since its last call."""
        if self.folder is not None:
            with self._translated(key):
                obstore.put(self._store, key, file)
            note = self.folder / _METADATA_FOLDER / f"{key}.json"
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(dict(metadata), ensure_ascii=False))
            if progress is not None:
                progress(file.stat().st_size)
            return
        encoded = {name: quote(value, safe=" ,;:()+-_./@") for name, value in metadata.items()}
        parts = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)
        with self._translated(key):
            self._client.upload_file(
                str(file), self.bucket, self._full(key), ExtraArgs={"Metadata": encoded}, Callback=progress, Config=parts
            )

    def unfinished_uploads(self, before: datetime, *, abort: bool) -> tuple[str, ...]:
        """Return the keys of uploads in parts that were begun before a time and never finished; abort frees their space."""
        if self.folder is not None:
            return ()
        found = []
        with self._translated(""):
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self._full("")):
                for each in page.get("Uploads", []):
                    if each["Initiated"] < before:
                        found.append(each["Key"])
                        if abort:
                            self._client.abort_multipart_upload(Bucket=self.bucket, Key=each["Key"], UploadId=each["UploadId"])
        return tuple(found)

    @cached_property
    def _store(self) -> S3Store | LocalStore:
        if self.folder is not None:
            return LocalStore(self.folder, mkdir=True)
        config: dict[str, Any] = {"region": self.settings.region, "virtual_hosted_style_request": False}
        if address := endpoint(self.settings):
            config["endpoint"] = address
        if self.settings.access_key:
            config |= {"access_key_id": self.settings.access_key, "secret_access_key": self.settings.secret_key}
        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            config=cast(Any, config),
            client_options={"allow_http": True, "connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=120)},
            retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=30)},
        )

    @cached_property
    def _client(self) -> S3Client:
        return s3_client(self.settings)

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the errors of obstore, boto3 and the file system into ours, with the endpoint and without credentials."""
        try:
            yield
        except (FileNotFoundError, NotFoundError) as error:
            raise ObjectMissing(f"{self.where}: there is no object {key!r} (or no such bucket)") from error
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("404", "NoSuchKey", "NoSuchBucket", "NotFound"):
                raise ObjectMissing(f"{self.where}: there is no object {key!r} (or no such bucket)") from error
            raise StoreUnreachable(f"{self.where}: {code or 'refused'} for {key!r}; check endpoint, bucket and credentials") from error
        except (BaseError, BotoCoreError, OSError) as error:
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise StoreUnreachable(f"{self.where}: {line} (key {key!r}); check endpoint, bucket and credentials") from error


class _RangeReader(io.RawIOBase):
    """An object as an unbuffered, seekable file; `io.BufferedReader` over it asks for READ_AHEAD bytes at a time."""

    def __init__(self, store: ObjectStore, found: InboxObject) -> None:
        super().__init__()
        self._store, self._found, self._place = store, found, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._found.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._place + len(buffer), self._found.size)
        if end <= self._place:
            return 0
        data = self._read(end)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def readall(self) -> bytes:
        parts = []
        while self._place < self._found.size:
            parts.append(self._read(min(self._place + READ_AHEAD, self._found.size)))
            self._place += len(parts[-1])
        return b"".join(parts)

    def _read(self, end: int) -> bytes:
        key, etag = self._found.key, self._found.etag
        with self._store._translated(key):
            options: Any = {"range": (self._place, end), "if_match": f'"{etag}"'} if etag else {"range": (self._place, end)}
            try:
                return bytes(obstore.get(self._store._store, key, options=options).bytes())
            except PreconditionError as error:
                raise StoreError(
                    f"{self._store.where}: {key!r} was replaced while it was read; it is read again as a new source"
                ) from error


def connect(url: str, settings: StoreSettings) -> ObjectStore:
    """Return the store at s3://BUCKET[/PREFIX] or in a local folder (a path or file://...); asks the server nothing yet."""
    return ObjectStore(url, settings)


def endpoint(settings: StoreSettings) -> str:
    """Return the address of the server, '' for AWS itself; raises StoreUnreachable where the settings name no store at all."""
    if settings.endpoint_url == AWS:
        return ""
    if settings.endpoint_url or settings.access_key:
        return settings.endpoint_url
    raise StoreUnreachable(
        "no object store is named and no local stack runs: start one with `atomlake up`, or set ATOMLAKE_STORE_ENDPOINT_URL to the address "
        f"of a server ({AWS!r} for AWS with the credentials of this machine)"
    )


def storage_options(settings: StoreSettings) -> dict[str, str]:
    """Return what deltalake and Polars need to reach the same store; conditional PUTs are required, never switched off."""
    options = {"aws_region": settings.region, "aws_allow_http": "true", "aws_conditional_put": "etag"}
    options["aws_virtual_hosted_style_request"] = "false"
    if address := endpoint(settings):
        options["aws_endpoint_url"] = address
    if settings.access_key:
        options |= {"aws_access_key_id": settings.access_key, "aws_secret_access_key": settings.secret_key}
    return options


def s3_client(settings: StoreSettings) -> S3Client:
    """Return a boto3 client with path-style addresses and few retries."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint(settings) or None,
        region_name=settings.region,
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=settings.secret_key or None,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 4}, connect_timeout=5),
    )


def make_bucket(name: str, settings: StoreSettings) -> None:
    """Make a bucket where it is not there yet; raises StoreUnreachable."""
    where = f"bucket {name!r} at {settings.endpoint_url or 'AWS'}"
    client = s3_client(settings)
    try:
        if settings.region == "us-east-1":
            client.create_bucket(Bucket=name)
        else:
            client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": cast(Any, settings.region)})
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise StoreUnreachable(f"{where}: {code}; check the credentials and the name (3 to 63 of a-z, 0-9, '-')") from error
    except BotoCoreError as error:
        raise StoreUnreachable(f"{where}: no answer ({type(error).__name__}); is the server running?") from error


def local_folder(url: str) -> Path | None:
    """Return the folder that a URL names, or None for a bucket; raises SettingsError for another scheme."""
    if "://" not in url:
        return Path(url).expanduser().absolute()
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).absolute()
    if parts.scheme != "s3":
        raise SettingsError(f"{url!r} is not a place that can be read; write s3://BUCKET[/PREFIX] or the path of a folder")
    return None


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if not parts.netloc:
        raise SettingsError(f"{url!r} names no bucket; write s3://BUCKET[/PREFIX]")
    return parts.netloc, parts.path.strip("/")


def _inbox_object(meta: Mapping[str, Any]) -> InboxObject:
    return InboxObject(meta["path"], _bare_etag(meta["e_tag"]), int(meta["size"]), meta["last_modified"], meta["version"] or "")


def _bare_etag(etag: str | None) -> str:
    return (etag or "").strip('"')
