"""What was retracted or is under embargo is left out everywhere, told about, and seen again when it should be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from made_up_readings import BAD, CAO, LDA, MGCAO, MGO, made_block, made_calculation, made_reading

import lake
from lake.commit import commit_batch, stage
from lake.embargoes import embargo, embargoes, hidden_projects, lift
from lake.inbox import upload
from lake.lake import Lake
from lake.lineage import origins, restore, retract
from lake.reading import read_source
from lake.store import connect
from lake.visibility import hidden, visible_retractions
from schemas.datasets import FrameQuery
from schemas.errors import QueryError, UnderEmbargo, UnknownName
from schemas.settings import LimitSettings, ProfileSettings, Settings, StoreSettings, load
from schemas.sources import InboxObject, SourceObject

ALL = FrameQuery(only_good=False)
SHARED = made_calculation(MGO, 5, 1)
READINGS = [
    made_reading("open.tar", SHARED, made_calculation(CAO, 4, 2), metadata={"project": "open"}),
    made_reading("copy.tar", SHARED, metadata={"project": "secret"}),
    made_reading("a.tar", made_calculation(MGO, 3, 3), metadata={"project": "secret", "material": "Wonderstone"}),
    made_reading("b.tar", made_calculation(MGCAO, 6, 4, level=LDA), metadata={"project": "secret"}),
]
LATER, LATEST, PAST = ((datetime.now(UTC) + timedelta(days=n)).date().isoformat() for n in (30, 60, -1))


def commit(lake: Lake, letter: str, *readings) -> None:
    commit_batch(lake, [stage(lake, readings, letter * 64, 0)], letter * 64)


@pytest.fixture
def filled(folder_lake: Lake) -> Lake:
    commit(folder_lake, "b", *READINGS)
    return folder_lake


def named(opened: Lake, *projects: str) -> Lake:
    """Return the lake as a reader sees it whose profile names projects."""
    return lake.open(opened.url, replace(opened.settings, profile=ProfileSettings(projects)))


def counts(opened: Lake, **options: bool) -> dict[str, int]:
    return dict(opened.systems(**options).select("element_system", "n_frames").iter_rows())


def test_a_retracted_source_is_left_out_everywhere_but_where_it_is_asked_for(filled: Lake) -> None:
    everything = {"Ca-Mg-O": 6, "Ca-O": 4, "Mg-O": 8}
    assert counts(filled) == everything
    retract(filled, "b.tar", "wrong cell")
    assert counts(filled) == {"Ca-O": 4, "Mg-O": 8}
    assert counts(filled, retracted=True) == everything
    assert filled.frames(only_good=False).collect().height == 12
    assert filled.frames(only_good=False, retracted=True).collect().height == 18
    assert filled.calculations().collect().height == 3
    assert [held.theory.split("/")[0] for held in filled.theories()] == ["PBE"]
    assert len(filled.theories(retracted=True)) == 2
    found = filled.search("Ca,Mg,O")
    assert [system.element_system for system in found.systems] == ["Mg-O", "Ca-O"]
    assert found.left_out.n_frames() == (6, 0)
    assert filled.left_out(ALL).n_frames() == (6, 0)
    assert filled.left_out(FrameQuery(systems=("Ca-O",))).n_frames() == (0, 0)
    restore(filled, "b.tar")
    assert counts(filled) == everything


def test_a_calculation_that_an_open_source_has_stays(filled: Lake) -> None:
    retract(filled, "copy.tar", "not theirs")
    assert counts(filled)["Mg-O"] == 8
    retract(filled, "open.tar", "wrong")
    assert counts(filled) == {"Ca-Mg-O": 6, "Mg-O": 3}
    commit(filled, "c", made_reading("again.tar", SHARED))
    assert counts(filled) == {"Ca-Mg-O": 6, "Mg-O": 8}


def test_conflicts_leave_out_what_was_retracted(folder_lake: Lake) -> None:
    block = made_block(MGO, 1, 1)
    commit(
        folder_lake, "b", made_reading("a.tar", made_calculation(MGO, block=block)),
        made_reading("b.tar", made_calculation(MGO, block=replace(block, energy=block.energy + 1))),
    )  # fmt: skip
    assert folder_lake.conflicts().height == 1
    retract(folder_lake, "b.tar", "a slip")
    assert folder_lake.conflicts().height == 0
    assert folder_lake.conflicts(retracted=True).height == 1


def test_the_files_of_other_systems_are_read_without_a_filter(filled: Lake) -> None:
    retract(filled, "b.tar", "wrong cell")
    assert "calculation_id" not in filled.frames(systems="Ca-O").select("energy").explain()
    assert "calculation_id" in filled.frames(systems="Ca-Mg-O").select("energy").explain()


def test_an_embargoed_project_is_seen_by_those_named_only(filled: Lake) -> None:
    embargo(filled, "secret", LATER, "thesis")
    assert counts(filled) == {"Ca-O": 4, "Mg-O": 5}
    assert filled.frames(only_good=False).select(pl.col("project").unique()).collect()["project"].to_list() == ["open"]
    assert filled.search("Wonderstone").systems == ()
    assert "Wonderstone" not in filled.search("Wonderstones").suggestions
    found = filled.search("MgO")
    assert (found.systems[0].n_frames, found.left_out.n_frames(), found.left_out.projects) == (5, (0, 3), {"secret": LATER})
    assert filled.left_out(ALL).n_frames() == (0, 9)
    with pytest.raises(UnknownName, match="no depositor named a material 'Wonderstone'"):
        filled.frames(material="Wonderstone")
    friend = named(filled, "other", "secret")
    assert counts(friend) == counts(named(filled, "*")) == {"Ca-Mg-O": 6, "Ca-O": 4, "Mg-O": 8}
    assert friend.frames(material="wonderstone", only_good=False).collect().height == 3
    assert friend.left_out(ALL).n_frames() == (0, 0)


def test_deposits_of_an_embargoed_project_are_shown_to_those_named_only(filled: Lake) -> None:
    commit(filled, "c", made_reading("broken.tar", metadata={"project": "secret"}, rejections=(BAD,)))
    dataset = filled.publish("open", FrameQuery(only_good=False, systems=("Mg-O",)))
    retract(filled, "b.tar", "wrong cell")
    friend, keys = named(filled, "secret"), {"open.tar", "copy.tar", "a.tar", "b.tar", "broken.tar"}
    for before in (filled, friend):
        assert set(before.sources().collect()["key"]) == keys
    embargo(filled, "secret", LATER)
    assert set(filled.sources().collect()["key"]) == {"open.tar"}
    assert (filled.rejections().collect().height, friend.rejections().collect().height) == (0, 1)
    assert ([each.key for each in visible_retractions(filled)], [each.key for each in visible_retractions(friend)]) == ([], ["b.tar"])
    assert {each.key for each in origins(friend, dataset.manifest.name)} == {"open.tar", "copy.tar", "a.tar"}
    shared = filled.publish("shared", FrameQuery(only_good=False, systems=("Mg-O",)))
    assert {each.key for each in origins(filled, shared.manifest.name)} == {"open.tar"}
    with pytest.raises(UnknownName) as told:
        retract(filled, "broke.tar", "why")
    assert "broken.tar" not in str(told.value)
    assert set(friend.sources().collect()["key"]) == set(filled.all_sources().collect()["key"]) == keys


def test_a_dataset_with_embargoed_frames_is_used_by_those_named_only(filled: Lake) -> None:
    open_to_all = filled.publish("open", FrameQuery(systems=("Ca-O",)))
    filled.publish("mixed", FrameQuery(systems=("Mg-O",), only_good=False))
    embargo(filled, "secret", LATER)
    with pytest.raises(UnderEmbargo, match=f"'secret' until {LATER}"):
        filled.dataset("mixed")
    assert filled.dataset("open") == open_to_all
    assert len(named(filled, "secret").dataset("mixed").frame_ids()) == 8
    assert [manifest.name for manifest in filled.datasets()] == ["mixed", "open"]
    assert len(filled.publish("later", FrameQuery(systems=("Mg-O",), only_good=False)).frame_ids()) == 5
    assert filled.dataset("later").manifest.n_frames
    with pytest.raises(QueryError, match="or of projects under embargo"):
        filled.publish("nothing", FrameQuery(systems=("Ca-Mg-O",), only_good=False))


def test_an_embargo_ends_by_itself_or_is_lifted(filled: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    embargo(filled, "secret", LATER)
    embargo(filled, "secret", LATEST)
    assert hidden_projects(filled) == {"secret": LATEST}
    embargo(filled, "secret", LATER)
    assert hidden_projects(filled) == {"secret": LATER}
    day = datetime.fromisoformat(LATER).date()
    monkeypatch.setattr("lake.embargoes.today", lambda: day - timedelta(days=1))
    assert counts(filled)["Mg-O"] == 5
    monkeypatch.setattr("lake.embargoes.today", lambda: day)
    assert counts(filled)["Mg-O"] == 8
    monkeypatch.undo()
    assert counts(filled)["Mg-O"] == 5
    assert lift(filled, "secret").why == "lifted"
    assert counts(filled)["Mg-O"] == 8
    assert list(embargoes(filled)) == ["secret"]
    with pytest.raises(UnknownName, match="did you mean 'secret'"):
        lift(filled, "secrets")
    with pytest.raises(QueryError, match="not to come"):
        embargo(filled, "secret", PAST)
    with pytest.raises(QueryError, match="write it like 2027-01-31"):
        embargo(filled, "secret", "next year")


def test_a_deposit_brings_its_embargo_before_its_frames(folder_lake: Lake) -> None:
    wish = {"project": "酸化物/2026", "embargo_until": LATER}
    commit(folder_lake, "b", made_reading("a.tar", made_calculation(MGO, 3, 3), metadata=wish))
    assert counts(folder_lake) == {}
    assert (embargoes(folder_lake)["酸化物/2026"].until, embargoes(folder_lake)["酸化物/2026"].why) == (LATER, "a.tar")
    earlier = made_reading("b.tar", made_calculation(CAO, 3, 3), metadata={**wish, "embargo_until": PAST})
    commit(folder_lake, "c", earlier)
    assert hidden_projects(folder_lake) == {"酸化物/2026": LATER}, "no deposit makes an embargo shorter"
    lift(folder_lake, "酸化物/2026")
    assert counts(folder_lake) == {"Ca-O": 3, "Mg-O": 3}
    commit(folder_lake, "d", made_reading("a.tar", made_calculation(MGO, 3, 3), metadata=wish, attempt=2))
    assert hidden_projects(folder_lake) == {}, "what was heard before is not repeated over the decision of the keepers"
    commit(folder_lake, "e", made_reading("new.tar", made_calculation(MGO, 2, 8), metadata=wish))
    assert hidden_projects(folder_lake) == {"酸化物/2026": LATER}, "a new deposit is not made open"


def source_of(file: Path, text: str | None, metadata: dict[str, str], root: Path) -> tuple[SourceObject, object]:
    """Return an example as a source, with an atomlake.yaml beside it and user metadata."""
    store = connect(str(file.parent), StoreSettings())
    name = "qe-pbe_mgo_rattle-000.tar.gz"
    store.upload(name, root / "examples/mgcao" / name, metadata)
    if text is not None:
        (file.parent / "atomlake.yaml").write_text(text)
    found = store.head(name)
    part = InboxObject(name, found.etag, found.size, found.last_modified)
    return SourceObject("inbox", name, found.etag, found.size, found.last_modified, (part,)), store


@pytest.mark.parametrize(
    ("text", "metadata", "said"),
    [
        (f"project: p\nembargo_until: {LATER}\n", {}, (LATER, "")),
        (f"project: p\nembargo_until: '{LATER}'\n", {"embargo-until": LATEST}, (LATEST, "")),
        (f"embargo_until: {LATER}\n", {"project": "p"}, (LATER, "")),
        (None, {"project": "p", "embargo-until": LATER}, (LATER, "")),
        ("project: p\n", {}, ("", "")),
        ("projekt: p\n", {}, ("", "unknown key")),
        (f"embargo_until: {LATER}\n", {}, (None, "an embargo without a project")),
        ("project: p\nembargo_until: soon\n", {}, (None, "which is no day")),
        (f"projekt: p\nembargo_until: {LATER}\n", {}, (None, "unknown key 'projekt'")),
        (f"project: p\nembargo: {LATER}\n", {}, (None, "unknown key 'embargo'")),
        (None, {"project": "p", "embargo-until": "2027-13-01"}, (None, "which is no day")),
    ],
)
def test_an_embargo_that_cannot_be_kept_opens_nothing(
    text: str | None, metadata: dict[str, str], said: tuple[str | None, str], root: Path, tmp_path: Path
) -> None:
    until, detail = said
    source, store = source_of(tmp_path / "inbox/x", text, metadata, root)
    reading = read_source(source, store, LimitSettings())
    assert [r.detail for r in reading.rejections if detail in r.detail] == ([r.detail for r in reading.rejections] if detail else [])
    if until is None:
        assert reading.calculations == ()
        assert {r.reason for r in reading.rejections} >= {"unreadable_embargo"}
    else:
        assert (len(reading.calculations), reading.metadata.get("embargo_until", "")) == (1, until)


def test_put_says_the_embargo_with_each_object(root: Path, tmp_path: Path) -> None:
    store = connect(str(tmp_path / "inbox"), StoreSettings())
    file = root / "examples/mgcao/qe-pbe_mgo_rattle-000.tar.gz"
    with pytest.raises(QueryError, match="an embargo is that of a project"):
        upload(store, [file], embargo_until=LATER)
    (key,) = upload(store, [file], project="p", embargo_until=LATER)
    assert store.metadata(key)["embargo-until"] == LATER


def test_profiles_are_lists_in_files_and_text_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "atomlake.toml").write_text('[profile]\nprojects = ["a", "b, c"]\n')
    assert load({"ATOMLAKE_HOME": str(tmp_path)}).profile.projects == ("a", "b, c")
    assert load({"ATOMLAKE_HOME": str(tmp_path), "ATOMLAKE_PROFILE_PROJECTS": "d, e"}).profile.projects == ("d", "e")


def test_nothing_hidden_costs_two_listings(filled: Lake) -> None:
    assert hidden(filled).seen() is None
    assert hidden(lake.open(filled.url, Settings(home=filled.settings.home))) == hidden(filled)
