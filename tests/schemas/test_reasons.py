"""Reasons of rejections: each that the code gives is in the list, and the list stands in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.documentation import tables_page
from schemas.sources import REASON_CODES, REASONS

GIVEN = re.compile(r"(?:Rejection\([^()\"]*|Unreadable(?:Output|Archive)\(\s*|Refusal\(\s*|reason=)\"([a-z_]+)\"")


def test_each_reason_that_the_code_gives_is_in_the_list(root: Path) -> None:
    found = {}
    for file in sorted([*(root / "lake").rglob("*.py"), *(root / "schemas").rglob("*.py"), *(root / "pipelines").rglob("*.py")]):
        for code in GIVEN.findall(file.read_text()):
            found.setdefault(code, file.name)
    assert len(found) > 12
    assert {code: file for code, file in found.items() if code not in REASON_CODES} == {}


def test_each_reason_is_documented_with_its_meaning() -> None:
    page = tables_page()
    assert len(REASON_CODES) == len(REASONS)
    for reason in REASONS:
        assert f"| `{reason.code}` |" in page
        assert reason.doc in page
        assert reason.doc.endswith(".")
