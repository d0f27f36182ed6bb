"""Sources of every kind become calculations and rejections, and never an exception."""

from __future__ import annotations

import gzip
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_outputs import MADE_LOG, MADE_READERS, made_run, part, tar_of, written
from made_up_readings import made_block

from lake.metadata import parse_metadata
from lake.reading import read_source, read_stream
from schemas.errors import ObjectMissing, StoreUnreachable, UnreadableOutput
from schemas.settings import LimitSettings
from schemas.sources import REASON_CODES, InboxObject, SourceObject, SourceReading

BLOCK = made_block([12, 12, 8, 8], 8, 1)
LOG = written(made_run(BLOCK))
XML = written(made_run(BLOCK, name="made xml"))
OTHER_LOG = written(made_run(made_block([12, 12, 8, 8], 3, 2)))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class MemoryStore:
    """An object store in memory that can fail."""

    objects: dict[str, bytes]
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    failing: tuple[str, ...] = ()

    def open(self, key: str) -> BinaryIO:
        if key not in self.objects:
            raise ObjectMissing(f"no object {key!r}")
        if key in self.failing:
            raise StoreUnreachable("no answer")
        return io.BytesIO(self.objects[key])

    def metadata(self, key: str) -> Mapping[str, str]:
        return self.user_metadata


def source_of(key: str, objects: Mapping[str, bytes]) -> SourceObject:
    keys = [name for name in objects if name.startswith(key)] if key.endswith("/") else [key]
    parts = tuple(InboxObject(name, "e", len(objects.get(name, b"")), NOON) for name in keys)
    return SourceObject("inbox", key, "e", sum(p.size for p in parts), NOON, parts)


def reading_of(key: str, objects: dict[str, bytes], limits: LimitSettings | None = None, **options: object) -> SourceReading:
    store = MemoryStore(objects, **options)  # type: ignore[arg-type]
    reading = read_source(source_of(key, objects), store, limits or LimitSettings(), readers=MADE_READERS)
    assert all(rejection.reason in REASON_CODES and rejection.remedy for rejection in reading.rejections)
    return reading


def reasons(reading: SourceReading) -> list[tuple[str, str]]:
    return [(rejection.member, rejection.reason) for rejection in reading.rejections]


def packed(files: Mapping[str, bytes] | list[tuple[str, bytes]], **options: object) -> SourceReading:
    return reading_of("in/a.tar.gz", {"in/a.tar.gz": gzip.compress(tar_of(files))}, **options)  # type: ignore[arg-type]


def test_an_archive_with_inputs_and_outputs() -> None:
    reading = packed({"run/pw.in": b"&control", "run/pw.out": LOG, "run/data.xml": XML, "run/CHGCAR": bytes(100_000)})
    (found,) = reading.calculations
    assert (found.member, found.files) == ("run", ("run/pw.out", "run/data.xml"))
    assert (found.run.frames.energy == BLOCK.energy).all()
    assert (found.run.frames.forces == BLOCK.forces).all()
    assert reading.rejections == ()
    assert reading.bytes_read > len(LOG) + len(XML) + 100_000
    assert reading.seconds > 0


@pytest.mark.parametrize("name", ["pw.out", "pw.out.gz", "strange name"])
def test_a_bare_file(name: str) -> None:
    reading = reading_of(name, {name: gzip.compress(LOG) if name.endswith("gz") else LOG})
    assert [(c.member, c.files) for c in reading.calculations] == [("", (name,))]
    assert reading.bytes_read >= len(LOG)


def test_a_folder_of_loose_files() -> None:
    objects = {"in/run/pw.out": LOG, "in/run/pw.save/data.xml": XML, "in/run/pw.err": b"", "in/runaway/pw.out": OTHER_LOG}
    reading = reading_of("in/run/", objects)
    assert [(c.member, c.files) for c in reading.calculations] == [("", ("pw.out", "pw.save/data.xml"))]
    assert reading.rejections == ()


def test_the_same_run_packed_in_any_way_is_the_same_calculation() -> None:
    crlf = LOG.replace(b"\n", b"\r\n")
    readings = [
        packed({"run/pw.out": LOG}),
        packed({"run/pw.out": LOG, "run/data.xml": XML}),
        packed({"elsewhere/renamed": crlf, "z": b"", "a": b"1"}),
        reading_of("b.tar", {"b.tar": tar_of({"x.tar.gz": gzip.compress(tar_of({"pw.out": LOG}))})}),
        packed({"one/pw.out": LOG, "two/pw.out": LOG}),
    ]
    assert {tuple(c.calculation_id for c in reading.calculations) for reading in readings} == {
        (readings[0].calculations[0].calculation_id,)
    }


def test_what_a_name_promises_and_the_bytes_do_not_keep() -> None:
    html = b"<!DOCTYPE html><html>502 Bad Gateway</html>"
    reading = packed(
        {
            "a/pw.out": html,
            "b/OUTCAR.gz": gzip.compress(b"%PDF-1.4"),
            "c/vasprun.xml": b"",
            "d/job.out": html,
            "e/x.tar.gz": html,
            "f/vaspout.h5": html,
        }
    )
    assert reasons(reading) == [
        ("a/pw.out", "unknown_format"),
        ("b/OUTCAR.gz", "unknown_format"),
        ("c/vasprun.xml", "unreadable_output"),
        ("e/x.tar.gz", "not_an_archive"),
        ("f/vaspout.h5", "unknown_format"),
    ]
    assert "HTML" in reading.rejections[0].detail
    assert reasons(reading_of("a.tgz", {"a.tgz": html})) == [("", "not_an_archive")]


def test_nothing_to_take_is_said_once() -> None:
    assert reasons(packed({"run/pw.in": b"&control", "readme": b"hello"})) == [("", "no_calculation")]
    assert reasons(packed({})) == [("", "empty_archive")]
    assert reasons(reading_of("a", {"a": b""})) == [("", "empty_object")]
    assert reasons(packed({"pw.out": b"MADE LOG {}\n"})) == [("pw.out", "no_complete_step")]


def test_members_of_one_name() -> None:
    same = packed([("run/pw.out", LOG), ("run/pw.out", LOG)])
    assert (len(same.calculations), same.rejections) == (1, ())
    differing = packed([("run/pw.out", LOG), ("run/PW.OUT", OTHER_LOG), ("run/pw.out", OTHER_LOG)])
    assert [c.files for c in differing.calculations] == [("run/pw.out",), ("run/PW.OUT",)]
    assert reasons(differing) == [("run/pw.out", "duplicate_member")]


def test_a_cut_archive_keeps_its_whole_members_and_a_cut_file_its_steps() -> None:
    data = gzip.compress(tar_of({"a/pw.out": LOG, "b/pw.out": OTHER_LOG}), 1)
    for share in (0.9, 0.8):
        reading = reading_of("a.tar.gz", {"a.tar.gz": data[: int(len(data) * share)]})
        assert [c.member for c in reading.calculations] == ["a"]
        assert reasons(reading) == [("", "truncated_archive")]
    data = gzip.compress(LOG, 1)
    reading = reading_of("pw.out.gz", {"pw.out.gz": data[: len(data) * 3 // 4]})
    assert 0 < reading.calculations[0].run.frames.count < 8
    assert reading.calculations[0].run.flags == ("truncated",)
    assert reasons(reading) == [("", "truncated_archive")]


def test_nothing_of_a_damaged_archive_is_believed() -> None:
    data = bytearray(gzip.compress(tar_of({"atomlake.yaml": b"project: p", "a/pw.out": LOG, "b/pw.out": b"MADE LOG {}"})))
    data[-6] ^= 1
    reading = reading_of("a.tar.gz", {"a.tar.gz": bytes(data)})
    assert (reading.calculations, dict(reading.metadata)) == ((), {})
    assert reasons(reading) == [("", "corrupt_archive")]


def test_a_fault_of_a_reader_costs_its_member_only() -> None:
    reading = packed({"a/pw.out": b"MADE LOG {} EXPLODE\n", "b/pw.out": LOG, "c/pw.out": b"MADE LOG nonsense\n"})
    assert [c.member for c in reading.calculations] == ["b"]
    assert reasons(reading) == [("a/pw.out", "reader_failed"), ("c/pw.out", "reader_failed")]
    assert "IndexError: a fault of the reader" in reading.rejections[0].detail


def test_faults_of_the_store() -> None:
    assert reasons(reading_of("gone.tar", {})) == [("", "object_vanished")]
    objects = {"r/a.out": LOG, "r/b.out": OTHER_LOG}
    reading = reading_of("r/", objects, failing=("r/a.out",))
    assert reasons(reading) == [("a.out", "store_failed")]
    assert len(reading.calculations) == 1


def test_limits_hold_for_bare_files_and_over_all_parts() -> None:
    limits = replace(LimitSettings(), max_member_bytes=1000)
    assert reasons(reading_of("pw.out", {"pw.out": LOG}, limits)) == [("pw.out", "too_large")]
    many = packed([(f"../{i}", b"") for i in range(500)])
    assert len(many.rejections) == 202
    assert many.rejections[-2].detail == "300 more of this kind" or many.rejections[-1].detail == "300 more of this kind"


def test_what_the_depositor_says() -> None:
    inside = "project: oxides\nmaterials: [periclase, ペリクレース]\nlicence: CC-BY-4.0\n".encode()
    objects = {
        "in/a.tar.gz": gzip.compress(tar_of({"run/atomlake.yaml": inside, "run/pw.out": LOG})),
        "in/atomlake.yaml": b"owner: M. Muster\nproject: other",
    }
    reading = reading_of("in/a.tar.gz", objects, user_metadata={"notes": "by hand", "owner": "nobody", "mtime": "1"})
    assert reading.metadata == {
        "project": "oxides", "material": "periclase;ペリクレース", "licence": "CC-BY-4.0", "owner": "M. Muster", "notes": "by hand",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        b"projekt: x",
        b"- a\n- b",
        b"project: [1, 2]",
        b"\xff\xfe",
        b"a: b: c",
        b"project: {a: b}",
        b"x" * 70_000,
        b"!!python/object:os.system x",
    ],
)
def test_a_bad_description_is_rejected_and_nothing_else(text: bytes) -> None:
    reading = packed({"atomlake.yaml": text, "run/pw.out": LOG})
    assert reasons(reading) == [("atomlake.yaml", "bad_metadata")]
    assert len(reading.calculations) == 1
    beside = reading_of("in/a.tar", {"in/a.tar": tar_of({"pw.out": LOG}), "in/atomlake.yaml": text})
    assert reasons(beside) == [("../atomlake.yaml", "bad_metadata")]


def test_a_misspelt_key_gets_the_closest_one() -> None:
    with pytest.raises(UnreadableOutput, match="did you mean 'licence'"):
        parse_metadata(b"license: CC0")


def test_a_pseudopotential_is_never_kept() -> None:
    secret = b"  PAW_PBE Mg 13Apr2007\n SECRET-PSEUDOPOTENTIAL 1.0 2.0\n" * 50
    reading = packed({"run/POTCAR": secret, "run/Mg.UPF": secret, "run/pw.out": LOG})
    assert len(reading.calculations) == 1
    assert b"SECRET" not in pickle.dumps(reading)


def test_any_prefix_of_the_steps_has_an_identity_of_its_own() -> None:
    ids = {packed({"pw.out": written(made_run(part(BLOCK, slice(0, n))))}).calculations[0].calculation_id for n in range(1, 9)}
    assert len(ids) == 8


ARCHIVE = gzip.compress(tar_of({"run/pw.out": LOG, "run/data.xml": XML, "more.tar.gz": gzip.compress(tar_of({"pw.out": OTHER_LOG}))}))


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, len(ARCHIVE) - 1), flip=st.integers(0, 255), cut=st.booleans())
def test_damaged_or_cut_bytes_never_raise_and_never_change_a_number(place: int, flip: int, cut: bool) -> None:
    data = bytearray(ARCHIVE)
    data[place] ^= 0 if cut else flip
    whole = bytes(data[: place + 1] if cut else data)
    contents = read_stream("a.tar.gz", lambda: io.BytesIO(whole), LimitSettings(), readers=(MADE_LOG,))
    assert all("failed" not in rejection.reason for rejection in contents.rejections)
    for calculation in contents.calculations:
        assert set(calculation.run.frames.energy) <= {*BLOCK.energy, *made_block([12, 12, 8, 8], 3, 2).energy}
    assert contents.calculations or contents.rejections


def test_a_source_without_an_output_says_what_its_files_are() -> None:
    files = {
        "run/INCAR": b"ENCUT = 500\n",
        "run/POSCAR": b"MgO\n1.0\n",
        "run/a.pdf": b"%PDF-1.7",
        "run/b\x07": b"zz",
        "c": b"",
        "d": b"d",
        "e": b"e",
    }
    (rejection,) = read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), LimitSettings()).rejections
    assert rejection.reason == "no_calculation"
    assert rejection.detail.startswith(
        "7 files, none of them an output that is read: INCAR (an input of VASP), POSCAR (a file of VASP without labels), "
    )
    assert "a.pdf (it begins with a PDF document), 'b\\x07' (it begins with b'zz'), c (0 bytes), ..." in rejection.detail
    (rejection,) = read_stream("utf.out", lambda: io.BytesIO("Program PWSCF v.7.2".encode("utf-16")), LimitSettings()).rejections
    assert rejection.detail.startswith("1 file, which is no output that is read: utf.out (it begins with UTF-16")
    assert "vasprun.xml" in rejection.remedy
