"""What the shipped policies let through and what not, asked of a real S3 server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import boto3
import polars as pl
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from made_up_readings import MGO, made_calculation, made_reading

import lake
from lake.commit import commit_batch, stage
from lake.inbox import upload
from lake.store import connect, make_bucket
from lake.vacuum import vacuum
from pipelines import policies, seaweedfs
from schemas.errors import AtomlakeError, StoreError
from schemas.settings import Settings, StoreSettings

INBOX, LAKE = "atomlake-inbox", "atomlake-lake"
READ = {"get", "head", "list"}
WRITE = {"put", "overwrite", "put if absent", "multipart", "abort multipart"}
DELETE = {"delete", "delete many"}
MAY = {
    ("depositor", INBOX): WRITE,
    ("depositor", LAKE): set(),
    ("reader", INBOX): set(),
    ("reader", LAKE): READ,
    ("service", INBOX): READ,
    ("service", LAKE): READ | WRITE | DELETE | {"list multipart", "copy"},
}


def test_files_are_the_policies_of_the_local_stack(root: Path, tmp_path: Path) -> None:
    policies.main(str(tmp_path))
    for who in policies.WHO:
        assert (root / f"infra/policies/{who}.json").read_text() == (tmp_path / f"{who}.json").read_text(), "python -m pipelines.policies"
    settings = replace(Settings(home=tmp_path), store=StoreSettings(inbox_bucket="in", lake_url="s3://out/tables"))
    seaweedfs.prepare(settings)
    written = json.loads((tmp_path / "seaweedfs/identities.json").read_text())
    assert {each["name"]: json.loads(each["content"]) for each in written["policies"]} == {
        who: policies.policy(who, "in", "out") for who in ("depositor", "reader")
    }
    seaweedfs.prepare(replace(settings, store=StoreSettings(lake_url=str(tmp_path / "lake"))))
    names = [each["name"] for each in json.loads((tmp_path / "seaweedfs/identities.json").read_text())["identities"]]
    assert names == ["service", "depositor"], "a lake in a folder has no bucket to read"


def store_of(settings: Settings, who: str) -> StoreSettings:
    return replace(settings.store, access_key=who, secret_key=f"{who}secret")


@pytest.fixture(scope="module")
def buckets(weed_settings: Settings) -> Settings:
    """Return settings of the server, with both buckets and an object in each."""
    for bucket in (INBOX, LAKE):
        make_bucket(bucket, weed_settings.store)
        connect(f"s3://{bucket}", weed_settings.store).put("there.bin", b"of somebody else")
    return weed_settings


def deeds(settings: Settings, who: str, bucket: str) -> dict[str, Callable[[], object]]:
    store = store_of(settings, who)
    keys = {"aws_access_key_id": store.access_key, "aws_secret_access_key": store.secret_key, "region_name": "us-east-1"}
    plain = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
    s3 = boto3.client("s3", endpoint_url=store.endpoint_url, config=plain, **keys)
    own = {"Bucket": bucket, "Key": f"by-{who}.bin"}

    def multipart(end: str) -> None:
        upload_id = s3.create_multipart_upload(**own)["UploadId"]
        if end == "abort":
            s3.abort_multipart_upload(**own, UploadId=upload_id)
            return
        part = s3.upload_part(**own, UploadId=upload_id, PartNumber=1, Body=b"in parts")
        s3.complete_multipart_upload(**own, UploadId=upload_id, MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]})

    def delete_many() -> None:
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "not-there.bin"}]})
        if answer.get("Errors"):
            raise ClientError({"Error": {"Code": answer["Errors"][0]["Code"]}}, "DeleteObjects")

    return {
        "get": lambda: s3.get_object(Bucket=bucket, Key="there.bin"),
        "head": lambda: s3.head_object(Bucket=bucket, Key="there.bin"),
        "list": lambda: s3.list_objects_v2(Bucket=bucket),
        "put": lambda: s3.put_object(**own, Body=b"new"),
        "overwrite": lambda: s3.put_object(**own, Body=b"newer"),
        "put if absent": lambda: s3.put_object(Bucket=bucket, Key=f"once-by-{who}.bin", Body=b"new", IfNoneMatch="*"),
        "multipart": lambda: multipart("complete"),
        "abort multipart": lambda: multipart("abort"),
        "list multipart": lambda: s3.list_multipart_uploads(Bucket=bucket),
        "copy": lambda: s3.copy_object(**own, CopySource={"Bucket": bucket, "Key": "there.bin"}),
        "delete": lambda: s3.delete_object(Bucket=bucket, Key="not-there.bin"),
        "delete many": delete_many,
        "make a bucket": lambda: s3.create_bucket(Bucket=f"bucket-of-{who}"),
        "delete the bucket": lambda: s3.delete_bucket(Bucket=bucket),
        "change the policy": lambda: s3.put_bucket_policy(Bucket=bucket, Policy=policies.text("service", INBOX, LAKE)),
    }


def answer(deed: Callable[[], object]) -> str:
    """Return the code of the error that the server answers with, '' for none."""
    try:
        deed()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return ""


@pytest.mark.s3
@pytest.mark.parametrize(("who", "bucket"), sorted(MAY))
def test_each_may_do_its_part_and_no_more(buckets: Settings, who: str, bucket: str) -> None:
    answers = {name: answer(deed) for name, deed in deeds(buckets, who, bucket).items()}
    assert {name for name, code in answers.items() if not code} == MAY[who, bucket]
    assert {code for code in answers.values() if code} <= {"AccessDenied", "403"}


@pytest.mark.s3
def test_with_these_rights_the_line_works(buckets: Settings, root: Path) -> None:
    file = root / "examples/mgcao/qe-pbe_mgo_rattle-000.tar.gz"
    inbox = connect(f"s3://{INBOX}", store_of(buckets, "depositor"))
    for _ in range(2):
        assert upload(inbox, [file], project="p") == [f"p/{file.name}"], "a depositor is not told what is there, so it is sent again"
    keeper = lake.open(f"s3://{LAKE}/tables", replace(buckets, store=store_of(buckets, "service")))
    lake.open(keeper.url, buckets).create()
    commit_batch(keeper, [stage(keeper, [made_reading("a.tar", made_calculation(MGO, 5, 1))], "b" * 64, 0)], "b" * 64)
    vacuum(keeper, older_than_days=1, dry_run=False)
    reader = lake.open(keeper.url, replace(buckets, store=store_of(buckets, "reader")))
    assert reader.frames().select(pl.len()).collect().item() == 5
    assert [system.element_system for system in reader.search("MgO").systems] == ["Mg-O"]
    with pytest.raises(AtomlakeError):
        reader.publish("d", lake.query.FrameQuery())
    with pytest.raises(StoreError):
        reader.store.delete("tables/none")
