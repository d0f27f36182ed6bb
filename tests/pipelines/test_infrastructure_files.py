from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import seaweedfs
from pipelines.services import HEARTBEAT_SECONDS
from schemas.settings import Settings, StackSettings, load


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "infra" / "compose.yaml").read_text())


def statements(root: Path, who: str) -> list[dict[str, Any]]:
    policy = json.loads((root / "infra" / "policies" / f"{who}.json").read_text())
    assert policy["Version"] == "2012-10-17"
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}
    return policy["Statement"]


@pytest.mark.parametrize(
    ("who", "touches", "changes"),
    [("depositor", {"inbox"}, {"inbox"}), ("reader", {"lake"}, set()), ("service", {"inbox", "lake"}, {"lake"})],
)
def test_policies_give_each_its_part(root: Path, who: str, touches: set[str], changes: set[str]) -> None:
    found = statements(root, who)
    buckets = {f"arn:aws:s3:::{bucket}": bucket.removeprefix("atomlake-") for bucket in seaweedfs.buckets(Settings())}
    assert {buckets[statement["Resource"].removesuffix("/*")] for statement in found} == touches
    rights = {(action, buckets[s["Resource"].removesuffix("/*")]) for s in found for action in s["Action"]}
    assert not [action for action, _ in rights if "*" in action]
    assert {bucket for action, bucket in rights if action.startswith(("s3:Put", "s3:Delete"))} == changes
    assert ("s3:DeleteObject", "inbox") not in rights
    for statement in found:
        on_bucket = {"s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"} & set(statement["Action"])
        assert bool(on_bucket) != statement["Resource"].endswith("/*"), "rights on the bucket and on its objects are apart"


def test_containers_have_the_options_of_the_local_stack(compose: dict[str, Any]) -> None:
    here = {option.split("=")[0]: option for option in seaweedfs.command(Settings())[1:]}
    there = {option.split("=")[0]: option for option in compose["services"]["seaweedfs"]["command"].split()}
    local = {name for name in here if ".port" in name and name.split(".port")[1] in ("", ".grpc")} | {
        "-filer.localSocket",
        "-s3.localSocket",
    }
    assert set(here) - local == set(there)
    differ = {name for name in there if there[name] != here[name]}
    assert differ == {"-ip", "-ip.bind", "-dir", "-s3.config"}
    assert compose["services"]["seaweedfs"]["image"].endswith(":" + ".".join(map(str, seaweedfs.OLDEST)))
    assert compose["services"]["flows"]["environment"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(HEARTBEAT_SECONDS)


def test_containers_are_found_by_settings_that_exist(compose: dict[str, Any]) -> None:
    for name in ("worker", "furnishing", "flows"):
        environment = {key: value for key, value in compose["services"][name]["environment"].items() if key.startswith("ATOMLAKE_")}
        seen = load({"ATOMLAKE_HOME": "/nowhere", **environment})
        assert seen.store.endpoint_url == "http://seaweedfs:8333"
        assert seen.dask.scheduler_address == "tcp://scheduler:8786"
        assert seen.prefect.api_url == "http://prefect:4200/api"


def test_ports_of_containers_are_open_to_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    known = {str(number) for number in vars(StackSettings()).values()}
    assert ports
    for port in ports:
        host, outer, inner = port.split(":")
        assert host == "127.0.0.1"
        assert outer == inner
        assert outer in known


def test_readme_names_every_file_and_service(root: Path, compose: dict[str, Any]) -> None:
    text = (root / "infra" / "README.md").read_text()
    for file in (root / "infra").iterdir():
        assert file.name == "README.md" or f"`{file.name}" in text, file.name
    for name in ("seaweedfs", "prefect", "scheduler", "workers", "flows"):
        assert f"`{name}`: " in text
