"""Filters, names and embargoes from the command line, on a lake in a folder of made-up runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from made_up_homes import run
from made_up_readings import CAO, LDA, MGCAO, MGO, made_calculation, made_reading
from typer.main import get_command

import lake
from lake.commit import commit_batch, stage
from lake.exports import FORMATS
from pipelines.cli import app
from schemas.errors import QueryError, UnderEmbargo, UnknownName
from schemas.settings import load

LATER = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATOMLAKE_HOME", str(tmp_path))
    monkeypatch.setenv("ATOMLAKE_STORE_LAKE_URL", str(tmp_path / "lake"))
    opened = lake.open(settings=load()).create()
    readings = [
        made_reading("a.tar", made_calculation(MGO, 5, 1), made_calculation(CAO, 4, 2), metadata={"project": "oxides"}),
        made_reading("b.tar", made_calculation(MGCAO, 6, 3), metadata={"project": "secret", "licence": "CC0-1.0", "material": "苦灰石"}),
        made_reading("c.tar", made_calculation([12, 12, 12, 8, 8, 8], 3, 4, level=LDA), metadata={"project": "oxides"}),
    ]
    commit_batch(opened, [stage(opened, readings, "b" * 64, 0)], "b" * 64)
    return tmp_path


def counts(*words: str) -> dict[str, int]:
    rows = json.loads(run("frames", *words, "--json"))
    return {system: sum(row["frames"] for row in rows if row["element_system"] == system) for system in {r["element_system"] for r in rows}}


FILTERS: list[tuple[tuple[str, ...], dict[str, int]]] = [
    (("--any-of", "Ca,H"), {"Ca-Mg-O": 6, "Ca-O": 4}),
    (("--containing", "O", "--without", "Ca"), {"Mg-O": 8}),
    (("-e", "Ca,Mg,O", "-s", "--theory", "PBE"), {"Ca-Mg-O": 6, "Ca-O": 4, "Mg-O": 5}),
    (("--theory", "PBE", "--theory", "LDA", "--system", "Mg-O"), {"Mg-O": 8}),
    (("--formula", "ABC2"), {"Ca-Mg-O": 6}),
    (("--formula", "OMg", "--atoms", "6:"), {"Mg-O": 3}),
    (("--energy-per-atom=-100:-0.5", "--atoms", "4"), {"Ca-Mg-O": 6, "Ca-O": 4, "Mg-O": 5}),
    (("--energy-per-atom", "-6:-5"), {}),
    (("--max-force", "0.001"), {}),
    (("--max-force", "0.001:"), {"Ca-Mg-O": 6, "Ca-O": 4, "Mg-O": 8}),
    (("--volume-per-atom", ":1"), {}),
    (("--volume", ":1"), {}),
    (("--licence", "CC0-1.0"), {"Ca-Mg-O": 6}),
    (("--material", "苦灰石"), {"Ca-Mg-O": 6}),
    (("--material", "quicklime"), {"Ca-O": 4}),
    (("--ingested", f"{TODAY}:"), {"Ca-Mg-O": 6, "Ca-O": 4, "Mg-O": 8}),
    (("--ingested", ":2020-01-01"), {}),
    (("--without-flag", "net_force", "--project", "secret"), {"Ca-Mg-O": 6}),
]


def test_filters_of_frames(home: Path) -> None:
    found = {words: counts(*words) for words, _ in FILTERS}
    assert found == dict(FILTERS)


def test_a_dataset_takes_the_same_filters(home: Path) -> None:
    (row,) = json.loads(run("dataset", "create", "d", "--without", "Ca", "--atoms", "4", "--json"))
    assert (row["systems"], row["train"] + row["validation"] + row["test"]) == (["Mg-O"], 5)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    of_frames, of_create = ({p.name for p in c.params} for c in (commands["frames"], commands["dataset"].commands["create"]))
    assert of_frames - of_create == {"retracted", "export", "form", "show"}


def test_names_that_nothing_has_are_told(home: Path) -> None:
    assert "no calculation has project 'oxydes' (did you mean 'oxides'?)" in run("frames", "--project", "oxydes")
    assert "no calculation has theory 'PBEE' (did you mean 'PBE'?)" in run("frames", "--theory", "PBEE")
    assert "no calculation has" not in run("frames", "--theory", "PBE", "--atoms", "99")
    with pytest.raises(QueryError, match="did you mean 'quicklime'"):
        run("frames", "--material", "quiklime")


def test_an_embargo_is_kept_and_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("dataset", "create", "mixed", "--elements", "Mg,Ca,O", "--theory", "PBE")
    (row,) = json.loads(run("embargo", "secret", "--until", LATER, "--why", "thesis", "--json"))
    assert (row["project"], row["until"], row["why"]) == ("secret", LATER, "thesis")
    assert counts() == {"Ca-O": 4, "Mg-O": 8}
    line = f"6 frames of embargoed projects left out (secret until {LATER})"
    for words in (("frames",), ("systems",), ("search", "Ca,Mg,O"), ("lake", "stats", "--systems"), ("theories",)):
        said = " ".join(run(*words).split())
        assert line in said, words
        assert "Ca-Mg-O" not in said, words
    assert line not in run("frames", "--system", "Mg-O")
    found = json.loads(run("search", "Ca-Mg-O", "--json"))
    assert found["left_out"] == {"retracted_frames": 0, "embargoed_frames": 6, "projects": {"secret": LATER}}
    run("frames", "--export", str(home / "out.xyz"))
    assert (home / "out.xyz").read_text().count("frame_id=") == 12
    with pytest.raises(UnderEmbargo):
        run("dataset", "export", "mixed", str(home / "d.xyz"))
    with monkeypatch.context() as service:
        # Told at once, before the server of runs is asked for anything.
        service.setenv("ATOMLAKE_PREFECT_API_URL", "http://127.0.0.1:9/api")
        with pytest.raises(UnderEmbargo):
            run("train", "mixed")
        with pytest.raises(UnknownName, match=r"mixt.*mixed"):
            run("train", "mixt")
    assert "hidden from you" in run("embargoes")
    for command in ("status", "rejections"):
        assert "deposits of embargoed projects left out: 1 of secret" in run(command)
    assert sum(row["sources"] for row in json.loads(run("status", "--json"))) == 2
    monkeypatch.setenv("ATOMLAKE_PROFILE_PROJECTS", "secret")
    assert counts() == {"Ca-Mg-O": 6, "Ca-O": 4, "Mg-O": 8}
    assert "seen by you" in run("embargoes")
    monkeypatch.delenv("ATOMLAKE_PROFILE_PROJECTS")
    run("embargo", "secret", "--lift")
    assert "over" in run("embargoes")
    assert counts() == {"Ca-Mg-O": 6, "Ca-O": 4, "Mg-O": 8}
    with pytest.raises(QueryError, match="write --until DAY or --lift"):
        run("embargo", "secret")


def test_retracted_frames_are_told_and_shown_when_asked_for(home: Path) -> None:
    run("retract", "c.tar", "--why", "wrong functional")
    assert "3 frames of retracted sources left out (--retracted shows them)" in run("frames")
    assert counts()["Mg-O"] == 5
    assert counts("--retracted")["Mg-O"] == 8
    assert "LDA" not in run("theories")
    assert "LDA" in run("theories", "--retracted")


@pytest.mark.parametrize("words", [("frames",), ("dataset", "export")])
def test_help_names_every_format(words: tuple[str, ...]) -> None:
    command = get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    (option,) = [p for p in command.params if "--format" in p.opts]
    assert set(option.help.removesuffix(".").partition(": ")[2].split(", ")) == {each.name for each in FORMATS}
