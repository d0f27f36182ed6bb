"""A reader that gives other numbers or words for the same output has another version: digests of what it gives stand beside the version.

After a change that is meant, raise the version in `lake/reader_versions.py` and write the digests anew with
ATOMLAKE_WRITE_DIGESTS=1 python -m pytest tests/golden/test_reader_digests.py.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import tarfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_collections import extxyz_of, made_frames, runner_of
from made_up_logs import cp2k_text, make_steps
from made_up_molecules import gaussian_text, orca_text
from made_up_orbitals import openmx_md_text, openmx_text, siesta_text
from made_up_rare_logs import fhi_aims_text, gpaw_text
from made_up_readings import six_readings
from made_up_solids import abacus_text, castep_text
from made_up_vasp import make_run, outcar_text, xml_text
from made_up_vaspout import vaspout

from lake.reader_versions import SHARED, VERSIONS
from lake.readers import find_reader
from lake.rows import calculation_rows, frame_rows
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

WRITE = os.environ.pop("ATOMLAKE_WRITE_DIGESTS", "")
"""Taken out of the environment, since other names that begin so are settings of atomlake."""
FILE = Path(__file__).with_name("reader_digests.json")
WITHOUT_DIGEST = {"ase", "deepmd"}
"""Codes whose files other libraries write, so that their bytes are not ours to keep."""
NOT_DIGESTED = {"notes", "reader_version", "ingested_at", "batch_id"}


def outputs(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of outputs: real ones that the project holds, and made-up ones."""
    for file in sorted((root / "tests/data").rglob("*.gz")):
        yield file.name.removesuffix(".gz"), gzip.decompress(file.read_bytes())
    for file in sorted((root / "tests/data").rglob("*.tar.xz")):
        with lzma.open(file) as stream, tarfile.open(fileobj=stream) as tar:
            for member in sorted(tar.getmembers(), key=lambda member: member.name):
                found = tar.extractfile(member)
                if found is not None:
                    yield member.name.rpartition("/")[2], found.read()
    steps, run, frames = make_steps(2), make_run(), made_frames(2)
    for text in (cp2k_text(steps), siesta_text(steps, single=False), openmx_text(steps, kind="opt"), openmx_md_text(steps, [0.0, 1.0])):
        yield "output", text
    for made in (abacus_text, castep_text, fhi_aims_text, gaussian_text, gpaw_text, orca_text):
        yield "output", made(steps)
    yield from (("vasprun.xml", xml_text(run)), ("OUTCAR", outcar_text(run)), ("vaspout.h5", vaspout(run)))
    yield "frames.xyz", "".join(extxyz_of(frame) for frame in frames).encode()
    yield "input.data", "".join(runner_of(frame) for frame in frames).encode()


def plain(value: Any) -> Any:
    """Return a value in words: floats to nine digits, since the last bits may depend on the machine."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype.kind), list(value.shape), [plain(each) for each in value.ravel().tolist()]]
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in sorted(value.items()) if name not in NOT_DIGESTED}
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name not in NOT_DIGESTED}
    return str(value)


def what_is_read(name: str, data: bytes) -> tuple[str, Any] | None:
    spec = find_reader(name, data[:65536])
    if spec is None:
        return None
    reader = spec.open()
    runs: tuple[Run, ...] | str
    try:
        reader.feed(data)
        runs = reader.close()
    except UnreadableOutput as error:
        runs = error.reason
    return spec.code, plain(runs)


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@pytest.fixture(scope="module")
def found(root: Path) -> dict[str, dict[str, Any]]:
    """Return version and digest for each code, and for what comes after every reader."""
    read: dict[str, list[Any]] = {}
    for name, data in outputs(root):
        known = what_is_read(name, data)
        if known is not None:
            read.setdefault(known[0], []).append(known[1])
    rows = [
        [plain(row), plain(frame_rows(calculation, project="", licence="").to_pylist())]
        for reading in six_readings()
        for row, calculation in zip(calculation_rows(reading), reading.calculations, strict=True)
    ]
    digests = {code: {"version": VERSIONS[code], "digest": digest(parts)} for code, parts in sorted(read.items())}
    return {"shared": {"version": SHARED, "digest": digest(rows)}, **digests}


def test_a_reader_that_gives_something_else_has_another_version(found: dict[str, dict[str, Any]]) -> None:
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    same_version = [name for name, each in found.items() if kept.get(name, each)["version"] == each["version"]]
    changed = [name for name in same_version if kept.get(name, found[name]) != found[name]]
    assert not changed, (
        f"{', '.join(changed)}: what is read is not what it was. If that is meant, raise these versions in lake/reader_versions.py "
        "(so that `atomlake reread --outdated` takes the rows), then write the digests with ATOMLAKE_WRITE_DIGESTS=1"
    )
    if WRITE:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
    assert json.loads(FILE.read_text()) == found, "versions were raised: write the digests with ATOMLAKE_WRITE_DIGESTS=1"


def test_every_code_has_a_version_and_a_digest(found: dict[str, dict[str, Any]]) -> None:
    assert set(found) - {"shared"} == set(VERSIONS) - WITHOUT_DIGEST
