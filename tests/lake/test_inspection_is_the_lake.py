"""What `atomlake inspect` prints of an archive is what the lake holds of it: every column that has a name in both, of every row."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_collections import extxyz_of, made_frames
from made_up_logs import abinit_text, make_steps
from made_up_orbitals import siesta_text
from made_up_outputs import tar_of
from made_up_vasp import make_run, outcar_text, xml_text

from lake.commit import commit_batch, stage
from lake.inspection import inspect_file
from lake.lake import Lake
from lake.reading import read_source
from lake.store import connect
from schemas.settings import LimitSettings, StoreSettings
from schemas.sources import SourceObject

LIMITS = LimitSettings()
N_CALCULATIONS = 11
QE = Path(__file__).resolve().parent.parent / "data" / "qe"


def archive() -> bytes:
    """Return runs of several codes, whole, cut, torn and refused, several runs of one file, two outputs of one run, and an archive.

    Collections stand in a folder that says their units, and in one that leaves them to be asked for.
    """
    xml = xml_text(make_run(3, natoms=4))
    torn = siesta_text(make_steps(3), single=False).replace(b"siesta: E_KS(eV) = ", b"siesta: E_KS(eV) = *", 1)
    run = make_run(2, natoms=2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as inner:
        inner.writestr("si/out", siesta_text(make_steps(1)))
    files = {
        "both/vasprun.xml": xml_text(run),
        "both/OUTCAR": outcar_text(run),
        "cut/vasprun.xml": xml[: len(xml) * 3 // 4],
        "md/pw.out.gz": (QE / "md-unconverged.out.gz").read_bytes(),
        "torn/out": torn,
        "abinit/run.abo": abinit_text([make_steps(2)], moving=True),
        "inner.zip": buffer.getvalue(),
        "datasets/run.abo": abinit_text([make_steps(1, seed=5), make_steps(1, seed=6)]),
        "volume/OUTCAR": outcar_text(make_run(2, natoms=3)).replace(b"volume of cell :       79.46", b"volume of cell :       97.46"),
        "said/atomlake.yaml": b"units: energy=eV,length=Angstrom\n",
        "said/frames.xyz": "".join(extxyz_of(frame) for frame in made_frames(3)).encode(),
        "said/system/type.raw": b"0\n1\n",
        "said/system/type_map.raw": b"Mg O\n",
        "said/system/nopbc": b"",
        "said/system/coord.raw": b"0.1 0.2 0.3 1.9 0.1 0.2\n0.0 0.2 0.3 1.8 0.1 0.2\n",
        "said/system/energy.raw": b"-10.0\n-10.1\n",
        "unsaid/frames.xyz": "".join(extxyz_of(frame) for frame in made_frames(2, seed=8)).encode(),
        "html/OUTCAR": b"<html>502</html>",
        "../evil": b"x",
    }
    return gzip.compress(tar_of(files))


@pytest.fixture
def both(folder_lake: Lake, tmp_path: Path) -> tuple[Lake, dict[str, Any]]:
    """Return a lake that took the archive, and what inspect says of the file."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "a.tar.gz").write_bytes(archive())
    store = connect(str(folder), StoreSettings())
    head = store.head("a.tar.gz")
    source = SourceObject("inbox", "a.tar.gz", head.etag, head.size, datetime(2026, 1, 1, tzinfo=UTC), (head,))
    batch = hashlib.sha256(b"batch").hexdigest()
    commit_batch(folder_lake, [stage(folder_lake, [read_source(source, store, LIMITS)], batch, 0)], batch)
    return folder_lake, inspect_file(folder / "a.tar.gz", LIMITS, arrays=True)


def same(printed: object, stored: object) -> bool:
    """Return whether two values are the same to the last bit; None stands for a number that is not there."""
    if isinstance(printed, list) or isinstance(stored, list):
        flat = np.array(printed if printed is not None else [], dtype=object).reshape(-1).tolist()
        kept = np.array(stored if stored is not None else [], dtype=object).reshape(-1).tolist()
        return len(flat) == len(kept) and all(same(a, b) for a, b in zip(flat, kept, strict=True))
    if isinstance(stored, float) and math.isnan(stored):
        stored = None
    return printed == stored


def test_every_column_of_both_is_equal(both: tuple[Lake, dict[str, Any]]) -> None:
    lake, found = both
    stored = {row["calculation_id"]: row for row in lake.calculations().collect().to_dicts()}
    frames = lake.frames(only_good=False).collect().to_dicts()
    assert len(found["calculations"]) == len(stored) == N_CALCULATIONS
    compared: set[str] = set()
    for calculation in found["calculations"]:
        row = stored[calculation["calculation_id"]]
        for name in set(calculation) & set(row):
            compared.add(name)
            assert same(calculation[name], row[name]), (calculation["member"], name)
        mine = {frame["step"]: frame for frame in frames if frame["calculation_id"] == calculation["calculation_id"]}
        assert sorted(mine) == sorted(frame["step"] for frame in calculation["frames"])
        for frame in calculation["frames"]:
            for name in set(frame) & set(mine[frame["step"]]):
                compared.add(name)
                assert same(frame[name], mine[frame["step"]][name]), (calculation["member"], frame["step"], name)
    assert compared >= {"code", "flags", "complete", "energy", "forces", "stress", "positions", "cell", "scf_converged", "max_force"}


def test_the_rejections_are_equal(both: tuple[Lake, dict[str, Any]]) -> None:
    lake, found = both
    rows = lake.rejections().collect().to_dicts()
    printed = sorted((r["member"], r["reason"], r["detail"], r["remedy"]) for r in found["rejections"])
    assert printed == sorted((r["member"], r["reason"], r["detail"], r["remedy"]) for r in rows)
    assert {reason for _, reason, _, _ in printed} == {"unknown_format", "unsafe_member", "needs_units"}


def test_the_archive_has_what_makes_flags(both: tuple[Lake, dict[str, Any]]) -> None:
    found = both[1]
    flags = {flag for calculation in found["calculations"] for flag in calculation["flags"]}
    frame_flags = {flag for calculation in found["calculations"] for frame in calculation["frames"] for flag in frame["flags"]}
    assert {"truncated", "malformed_steps", "contradictory_values"} <= flags | frame_flags
    assert [waiting["member"] for waiting in found["waiting"]] == ["unsaid/frames.xyz"]
    assert {c["code"] for c in found["calculations"]} >= {"vasp", "qe", "siesta", "abinit", "extxyz", "deepmd"}
    assert "scf_not_converged" in frame_flags
