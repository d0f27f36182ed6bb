"""What a depositor, a reader and the service may do in the two buckets, as S3 identity policies; `infra/policies` holds them as files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from schemas.settings import StoreSettings

_IN_BUCKET: Final = ["s3:ListBucket", "s3:GetBucketLocation"]
_IN_PARTS: Final = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
WHO: Final = ("depositor", "reader", "service")


def policy(who: str, inbox: str, lake: str) -> dict[str, Any]:
    """Return the policy of one of WHO for two buckets.

    A depositor may send and nothing else: neither see what others sent, which may be under embargo, nor take anything back. A reader
    may read the lake, the service read the inbox and keep the lake. Nobody may delete from the inbox.
    """
    statements = {
        "depositor": [
            _allow("KnowTheInbox", ["s3:GetBucketLocation"], inbox),
            _allow("DropIntoTheInbox", ["s3:PutObject", *_IN_PARTS], f"{inbox}/*"),
        ],
        "reader": [_allow("SeeTheLake", _IN_BUCKET, lake), _allow("ReadTheLake", ["s3:GetObject"], f"{lake}/*")],
        "service": [
            _allow("SeeTheInbox", _IN_BUCKET, inbox),
            _allow("ReadTheInbox", ["s3:GetObject"], f"{inbox}/*"),
            _allow("SeeTheLake", [*_IN_BUCKET, "s3:ListBucketMultipartUploads"], lake),
            _allow("KeepTheLake", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", *_IN_PARTS], f"{lake}/*"),
        ],
    }
    return {"Version": "2012-10-17", "Statement": statements[who]}


def _allow(name: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{resource}"}


def text(who: str, inbox: str, lake: str) -> str:
    """Return a policy as the text of a file."""
    return json.dumps(policy(who, inbox, lake), indent=2) + "\n"


def main(folder: str) -> None:
    """Write the policies for the default names of the buckets into a folder."""
    settings = StoreSettings()
    for who in WHO:
        (Path(folder) / f"{who}.json").write_text(text(who, settings.inbox_bucket, settings.lake_url.removeprefix("s3://")))


if __name__ == "__main__":
    main(sys.argv[1])
