"""Rows of an earlier version of their reader are outdated, others are not, whatever atomlake is installed."""

from __future__ import annotations

import pytest

from lake import reader_versions
from lake.reader_versions import VERSIONS, is_outdated, reader_version
from lake.readers import READERS


def test_versions_are_those_of_the_readers() -> None:
    assert set(VERSIONS) == {spec.code for spec in READERS}


def test_only_rows_of_a_changed_reader_are_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reader_version("OUTCAR") == f"{reader_versions.SHARED}.{VERSIONS['vasp']}"
    assert not is_outdated("OUTCAR", reader_version("OUTCAR"))
    monkeypatch.setitem(VERSIONS, "vasp", VERSIONS["vasp"] + 1)
    for old in (f"{reader_versions.SHARED}.{VERSIONS['vasp'] - 1}", "0.1.0", "0.2.dev1"):
        assert is_outdated("OUTCAR", old)
        assert is_outdated("vasprun.xml", old), "outputs of one run fill what the others leave open"
    assert not is_outdated("pw.x stdout", reader_version("pw.x stdout"))
    monkeypatch.setattr(reader_versions, "SHARED", reader_versions.SHARED + 1)
    assert is_outdated("pw.x stdout", f"{reader_versions.SHARED - 1}.{VERSIONS['qe']}")
