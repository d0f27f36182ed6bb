"""From the inbox to the tables for files without units: they wait, and are taken once when they are answered."""

from __future__ import annotations

import io
import tarfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from made_up_collections import extxyz_of, made_frames

import lake
from lake.collections.answers import NO_ANSWERS, Answers, read_answers
from lake.commit import SourceOutcome, commit_batch, stage
from lake.exports import export
from lake.inbox import answer, batch_id, discover, upload
from lake.inspection import inspect_file
from lake.lake import Lake
from lake.metadata import parse_metadata, with_answers
from lake.reading import read_source
from lake.store import ObjectStore, connect, make_bucket
from schemas.errors import UnreadableOutput
from schemas.settings import LimitSettings, Settings
from schemas.units import BOHR, HARTREE

FRAMES = made_frames(6, base=-3403.0)
TEXT = "".join(extxyz_of(frame, energy=HARTREE, length=BOHR, prefix="REF_") for frame in FRAMES)
HA = read_answers({"units": "energy=Ha,length=bohr"})


@pytest.fixture
def place(moto_settings: Settings, request: pytest.FixtureRequest) -> tuple[Lake, ObjectStore, str]:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:40].strip("-")
    store = replace(moto_settings.store, lake_url=f"s3://{name}-lake", inbox_bucket=f"{name}-in")
    make_bucket(store.inbox_bucket, store)
    settings = replace(moto_settings, store=store)
    return lake.open(settings=settings).create(), connect(f"s3://{store.inbox_bucket}", store), store.inbox_bucket


def take(place: tuple[Lake, ObjectStore, str]) -> tuple[SourceOutcome, ...]:
    """Make one pass over the inbox, and let its second pass: stores tell when an object was put in whole seconds."""
    outcomes = one_pass(place)
    time.sleep(1.01 - time.time() % 1.0)
    return outcomes


def one_pass(place: tuple[Lake, ObjectStore, str]) -> tuple[SourceOutcome, ...]:
    opened, inbox, bucket = place
    later = datetime.now(UTC) + timedelta(days=1)
    sources = discover(inbox, opened.ledger(bucket), bucket=bucket, quiet_seconds=0, now=later)
    if not sources:
        return ()
    batch = batch_id(sources)
    readings = [read_source(source, inbox, LimitSettings()) for source in sources]
    return commit_batch(opened, [stage(opened, readings, batch, 0)], batch).sources


def put(place: tuple[Lake, ObjectStore, str], file: Path, answers: Answers = NO_ANSWERS) -> list[str]:
    return upload(place[1], [file], project="p", answers=answers)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "set.xyz"
    made.write_text(TEXT)
    return made


def taken(opened: Lake) -> pl.DataFrame:
    return opened.frames().sort("step").collect()


def test_put_again_with_units_is_taken_once(place: tuple[Lake, ObjectStore, str], file: Path) -> None:
    assert put(place, file) == ["p/set.xyz"]
    (outcome,) = take(place)
    assert (outcome.state, outcome.n_frames, outcome.reasons) == ("needs_units", 0, ("needs_units",))
    (rejection,) = place[0].rejections().collect().to_dicts()
    assert "--units 'energy=Ha,length=bohr' --keys 'energy=REF_energy,forces=REF_forces'" in rejection["remedy"]
    assert place[0].calculations().collect().height == 0
    assert place[0].frames().collect().height == 0
    assert take(place) == ()
    assert put(place, file) == [], "the same content without answers is not sent again"
    assert put(place, file, HA) == ["p/set.xyz"]
    (outcome,) = take(place)
    assert (outcome.state, outcome.n_new_frames) == ("taken", 6)
    assert take(place) == ()
    assert put(place, file, HA) == []
    rows = taken(place[0])
    assert rows["energy"].to_list() == pytest.approx([frame.energy for frame in FRAMES], rel=1e-14)
    assert rows["good"].all()
    assert place[0].sources().select("state").collect()["state"].sort().to_list() == ["needs_units", "taken"]


@pytest.mark.parametrize("name", ["p/atomlake.yaml", "p/set.xyz.atomlake.yaml"])
def test_a_description_beside_it_answers(place: tuple[Lake, ObjectStore, str], file: Path, name: str) -> None:
    put(place, file)
    take(place)
    place[1].put(name, b"units: {energy: Hartree, length: bohr}\ntheory: {code: vasp, functional: PBE, basis: plane waves}\n")
    (outcome,) = take(place)
    assert (outcome.state, outcome.n_new_frames) == ("taken", 6)
    assert set(taken(place[0])["theory"]) == {"PBE/plane waves/vasp"}
    assert take(place) == ()


def test_an_answer_of_retry_is_kept_beside_the_source(place: tuple[Lake, ObjectStore, str], file: Path) -> None:
    put(place, file)
    place[1].put("p/atomlake.yaml", b"owner: someone\n")
    take(place)
    assert answer(place[1], "p/set.xyz", HA) == "p/set.xyz.atomlake.yaml"
    assert answer(place[1], "p/set.xyz", read_answers({"keys": "energy=REF_energy"})) == "p/set.xyz.atomlake.yaml"
    assert parse_metadata(place[1].get("p/set.xyz.atomlake.yaml")) == {"units": "energy=Ha,length=bohr", "keys": "energy=REF_energy"}
    assert [outcome.state for outcome in take(place)] == ["taken"]
    assert place[0].calculations().collect()["owner"].to_list() == ["someone"]


def test_a_wrong_description_is_told_and_takes_nothing(place: tuple[Lake, ObjectStore, str], file: Path) -> None:
    put(place, file)
    place[1].put("p/set.xyz.atomlake.yaml", b"units: {energy: hartre, length: bohr}\n")
    (outcome,) = take(place)
    assert (outcome.state, outcome.reasons) == ("needs_units", ("bad_metadata", "needs_units"))
    (wrong,) = place[0].rejections().filter(pl.col("reason") == "bad_metadata").collect().to_dicts()
    assert "did you mean 'hartree'" in wrong["detail"]


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return stream.getvalue()


def test_each_folder_of_an_archive_has_its_own_description(tmp_path: Path) -> None:
    plain = "".join(extxyz_of(frame) for frame in FRAMES).encode()
    file = tmp_path / "a.tar"
    file.write_bytes(
        archive(
            {
                "ev/set.xyz": plain,
                "atomlake.yaml": b"units: {energy: Ha, length: bohr}\n",
                "ev/atomlake.yaml": b"units: {energy: eV, length: Angstrom}\n",
                "ha/set.xyz": TEXT.encode(),
                "ev/other.xyz": TEXT.encode(),
                "ev/other.xyz.atomlake.yaml": b"units: {energy: Ha, length: bohr}\n",
            }
        )
    )
    found = inspect_file(file, LimitSettings())
    assert found["rejections"] == []
    runs = {run["files"][0]: run for run in found["calculations"]}
    assert set(runs) == {"ev/set.xyz", "ha/set.xyz"}, "other.xyz is the same set as ha/set.xyz, in two places"
    for run in runs.values():
        assert run["frames"][2]["energy"] == pytest.approx(FRAMES[2].energy, rel=1e-13)
        assert run["flags"] == []


def test_what_waits_does_not_hold_up_the_rest_of_a_source(tmp_path: Path, root: Path) -> None:
    with tarfile.open(root / "examples/mgcao/qe-pbe_mgo_rattle-000.tar.gz") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar.getmembers() if member.isfile()}  # type: ignore[union-attr]
    (tmp_path / "a.tar").write_bytes(archive({**files, "set.xyz": TEXT.encode(), "start.xyz": b"1\nstart\nMg 0.0 0.0 0.0\n"}))
    found = inspect_file(tmp_path / "a.tar", LimitSettings())
    assert [run["code"] for run in found["calculations"]] == ["qe"]
    assert [(each["member"], each["reason"]) for each in found["rejections"]] == [("set.xyz", "needs_units")]
    assert [each["member"] for each in found["waiting"]] == ["set.xyz"]


def test_inspect_marks_the_proposal_and_reads_what_lies_beside(file: Path) -> None:
    found = inspect_file(file, LimitSettings(), arrays=True)
    assert found["calculations"] == []
    (waiting,) = found["waiting"]
    assert waiting["proposal"] == "--units 'energy=Ha,length=bohr' --keys 'energy=REF_energy,forces=REF_forces'"
    (proposed,) = waiting["calculations_by_proposal"]
    assert proposed["n_frames"] == 6
    (taken,) = inspect_file(file, LimitSettings(), arrays=True, answers=HA)["calculations"]
    assert taken["frames"] == proposed["frames"]
    file.with_name("set.xyz.atomlake.yaml").write_text("units: energy=Ha,length=bohr\n")
    assert inspect_file(file, LimitSettings(), arrays=True)["calculations"][0]["frames"] == taken["frames"]


def test_answers_go_into_a_description_beside_what_it_says() -> None:
    text = with_answers("project: Oxide 酸化物\nunits: {energy: eV}\n".encode(), read_answers({"units": "length=nm"}))
    assert parse_metadata(text) == {"project": "Oxide 酸化物", "units": "energy=eV,length=nm"}
    with pytest.raises(UnreadableOutput, match="unknown key"):
        with_answers(b"unitz: {energy: eV}\n", HA)


def test_our_exports_come_back_bit_for_bit(place: tuple[Lake, ObjectStore, str], tmp_path: Path) -> None:
    source = tmp_path / "first.xyz"
    source.write_text(
        "".join(extxyz_of(frame, more='stress="' + " ".join(map(repr, frame.stress.ravel().tolist())) + '"') for frame in FRAMES)
    )
    put(place, source, read_answers({"units": "energy=eV,length=Angstrom,stress=eV/A^3"}))
    take(place)
    rows = taken(place[0])
    assert rows["stress"].null_count() == 0
    for name in ("frames.extxyz", "input.data", "frames.db"):
        export(place[0].frames().sort("frame_id"), tmp_path / name)
        (run,) = inspect_file(tmp_path / name, LimitSettings(), arrays=True)["calculations"]
        order = rows.sort("frame_id")
        assert [frame["energy"] for frame in run["frames"]] == order["energy"].to_list(), name
        flat = [[x for atom in frame["positions"] for x in atom] for frame in run["frames"]]
        assert flat == order["positions"].to_list(), name
        assert [[x for atom in frame["forces"] for x in atom] for frame in run["frames"]] == order["forces"].to_list(), name
        if name != "input.data":
            assert [frame["stress"] for frame in run["frames"]] == order["stress"].to_list(), name
