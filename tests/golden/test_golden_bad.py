"""Every archive of dataset-mgcao/bad gives what its LIST.csv says is right, quickly and in little memory."""

from __future__ import annotations

import csv
import json
import pickle
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lake.inspection import inspect_file
from lake.reading import read_source
from lake.store import connect
from schemas.settings import LimitSettings, StoreSettings
from schemas.sources import SourceObject

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def bad(shared: Path) -> Path:
    return shared / "dataset-mgcao" / "bad"


@pytest.fixture(scope="module")
def inspected(bad: Path) -> Callable[[str], dict[str, Any]]:
    return cache(lambda name: inspect_file(bad / name, LimitSettings()))


def reasons(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(r["member"], r["reason"]) for r in found["rejections"]]


def ids(found: dict[str, Any]) -> list[str]:
    return [c["calculation_id"] for c in found["calculations"]]


REFUSED = {
    "scf-not-converged.tar.gz": {
        ("scf-not-converged/data-file-schema.xml", "no_complete_step"),
        ("scf-not-converged/pw.out", "no_complete_step"),
    },
    "out-of-time.tar.gz": {("out-of-time/data-file-schema.xml", "no_complete_step"), ("out-of-time/pw.out", "no_complete_step")},
    "missing-pseudo-crash.tar.gz": {("crash/pw.out", "no_complete_step")},
    "wrong-file.tar.gz": {("run/pw.out", "unknown_format"), ("run/vasprun.xml", "unknown_format"), ("run/OUTCAR", "unknown_format")},
    "not-an-archive.tar.gz": {("", "not_an_archive")},
    "empty-file.tar.gz": {("", "empty_object")},
    "empty-archive.tar.gz": {("", "empty_archive")},
    "corrupt-gzip.tar.gz": {("", "corrupt_archive")},
    "bomb-1GiB.zip": {("bomb/pw.out", "too_large")},
    "bomb-1GiB.tar.gz": {("", "too_large")},
}
TAKEN = {
    "killed-md.tar.gz": 1,
    "md-unconverged-but-continues.tar.gz": 1,
    "many-calculations-2-levels.tar.gz": 13,
    "same-run-A.tar.gz": 1,
    "copy of same-run-A (2).tar.gz": 1,
    "same-run-A-crlf.tar.gz": 1,
    "pbe-and-lda-mixed.tar.gz": 8,
    "contains-potcar.tar.gz": 1,
    "nested-3-levels.zip": 2,
    "unicode-names.tar.gz": 3,
}
OTHERS = {"truncated-gzip.tar.gz", "path-traversal.tar.gz", "name-case-collision.tar.gz"}


def test_the_whole_list_is_looked_at(bad: Path) -> None:
    with (bad / "LIST.csv").open() as file:
        listed = {row["name"] for row in csv.DictReader(file)}
    assert listed == {*REFUSED, *TAKEN, *OTHERS}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_says_why(inspected: Callable[[str], dict[str, Any]], name: str) -> None:
    found = inspected(name)
    assert found["calculations"] == []
    assert set(reasons(found)) == REFUSED[name]
    assert all(r["detail"] and r["remedy"] for r in found["rejections"])


@pytest.mark.parametrize("name", TAKEN)
def test_what_can_be_taken_is_taken_without_complaint(inspected: Callable[[str], dict[str, Any]], name: str) -> None:
    found = inspected(name)
    assert len(found["calculations"]) == TAKEN[name]
    assert found["rejections"] == []
    assert all("sources_disagree" not in c["flags"] for c in found["calculations"])


def test_a_killed_run_keeps_its_complete_steps(inspected: Callable[[str], dict[str, Any]], bad: Path) -> None:
    (calculation,) = inspected("killed-md.tar.gz")["calculations"]
    assert calculation["complete"] is False
    assert calculation["flags"] == ["truncated"]
    assert calculation["n_frames"] == 16


def test_steps_that_did_not_converge_are_kept_and_flagged(inspected: Callable[[str], dict[str, Any]]) -> None:
    (calculation,) = inspected("md-unconverged-but-continues.tar.gz")["calculations"]
    flagged = [frame["step"] for frame in calculation["frames"] if "scf_not_converged" in frame["flags"]]
    assert calculation["n_frames"] == 6
    assert 0 in flagged
    assert all(frame["scf_converged"] is (frame["step"] not in flagged) for frame in calculation["frames"])


def test_copies_repacked_and_with_other_line_ends_are_one_calculation(inspected: Callable[[str], dict[str, Any]], shared: Path) -> None:
    names = ["same-run-A.tar.gz", "copy of same-run-A (2).tar.gz", "same-run-A-crlf.tar.gz"]
    (identity,) = {one for name in names for one in ids(inspected(name))}
    elsewhere = [
        ids(inspect_file(file, LimitSettings())) for file in sorted((shared / "dataset-mgcao" / "mgo").glob("qe-pbe_mgo_rattle-0*"))
    ]
    assert [identity] in elsewhere


def test_all_of_the_campaign_is_in_other_archives_too(inspected: Callable[[str], dict[str, Any]], shared: Path) -> None:
    files = sorted((shared / "dataset-mgcao" / "mgo").glob("qe-pbe_mgo_[er]*"))
    known = {one for file in files for one in ids(inspect_file(file, LimitSettings()))}
    assert set(ids(inspected("many-calculations-2-levels.tar.gz"))) <= known


def test_two_levels_of_theory_in_one_archive_stay_apart(inspected: Callable[[str], dict[str, Any]]) -> None:
    found = inspected("pbe-and-lda-mixed.tar.gz")["calculations"]
    assert {(c["member"].split("/")[1], c["theory"].split("/")[0]) for c in found} == {("pbe", "PBE"), ("lda", "LDA")}


def test_a_cut_archive_gives_its_complete_member(inspected: Callable[[str], dict[str, Any]]) -> None:
    found = inspected("truncated-gzip.tar.gz")
    assert [c["files"] for c in found["calculations"]] == [["mgo-run/data-file-schema.xml"]]
    assert reasons(found) == [("", "truncated_archive")]
    assert "mgo-run/pw.out" in found["rejections"][0]["detail"]


def test_only_the_harmless_member_of_the_traversal_is_read(inspected: Callable[[str], dict[str, Any]]) -> None:
    found = inspected("path-traversal.tar.gz")
    assert [c["files"] for c in found["calculations"]] == [["ok/pw.out"]]
    assert len(found["rejections"]) == 9
    assert {reason for _, reason in reasons(found)} == {"unsafe_member"}


def test_members_of_one_name(inspected: Callable[[str], dict[str, Any]]) -> None:
    found = inspected("name-case-collision.tar.gz")
    assert [c["files"] for c in found["calculations"]] == [["run/pw.out"], ["run/PW.OUT"]]
    assert reasons(found) == [("run/pw.out", "duplicate_member")]


def test_names_in_all_scripts_are_kept_as_they_are(inspected: Callable[[str], dict[str, Any]]) -> None:
    found = inspected("unicode-names.tar.gz")
    members = [c["member"] for c in found["calculations"]]
    # the folder in NFC holds the run of the first folder, the one in NFD another one
    assert members == ["Расчёт MgO/計算 №1", unicodedata.normalize("NFD", "Größe-Mg–O"), "emoji-🧪"]


def test_a_potcar_leaves_no_trace(bad: Path) -> None:
    name = "contains-potcar.tar.gz"
    store = connect(str(bad), StoreSettings())
    found = store.head(name)
    source = SourceObject("inbox", name, found.etag, found.size, datetime(2026, 1, 1, tzinfo=UTC), (found,))
    reading = read_source(source, store, LimitSettings())
    assert len(reading.calculations) == 1
    assert "POTCAR" not in str(reading.calculations[0].files)
    assert b"13Apr2007" not in pickle.dumps(reading)


def test_all_of_it_within_256_mb_and_20_s_each(bad: Path) -> None:
    code = """
import json, re, sys, time
from pathlib import Path
from lake.inspection import inspect_file
from schemas.settings import LimitSettings
seconds = {}
for file in sorted(Path(sys.argv[1]).iterdir()):
    start = time.perf_counter()
    inspect_file(file, LimitSettings())
    seconds[file.name] = time.perf_counter() - start
peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())
print(json.dumps([int(peak[1]), seconds]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(bad)], capture_output=True, text=True, check=True, timeout=300)
    peak_kib, seconds = json.loads(done.stdout)
    print(f"peak {peak_kib / 1024:.0f} MiB with all imports, slowest {max(seconds, key=seconds.get)} in {max(seconds.values()):.2f} s")
    assert set(seconds) == {file.name for file in bad.iterdir()}
    assert peak_kib < 256 * 1024
    assert max(seconds.values()) < 20
