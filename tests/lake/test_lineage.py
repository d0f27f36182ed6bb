"""From a dataset or potential back to its sources, from a source forward, and what a retraction does."""

from __future__ import annotations

import polars as pl
import pytest
from made_up_readings import CAO, MGCAO, MGO, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.datasets import preview
from lake.lake import Lake
from lake.lineage import origins, origins_of_potential, restore, retract, uses
from lake.potentials import publish_potential
from lake.retractions import retracted_calculations, retractions
from schemas.datasets import FrameQuery, Split
from schemas.errors import AlreadyThere, QueryError, UnknownName
from schemas.potentials import PotentialCard

ALL = FrameQuery(only_good=False)
THIRDS = Split(test=0.3, validation=0.3)


@pytest.fixture
def filled(folder_lake: Lake) -> Lake:
    shared = made_calculation(MGO, 5, 1)
    readings = [
        made_reading("a.tar", shared, made_calculation(CAO, 4, 2, member="run")),
        made_reading("b.tar", shared),
        made_reading("c.tar", *(made_calculation(MGCAO, 3, seed) for seed in range(10))),
    ]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    return folder_lake


def trained_on(lake: Lake, dataset: str, name: str = "p") -> PotentialCard:
    manifest = lake.dataset(dataset).manifest
    card = PotentialCard(
        name, 1, "hdnnp", "candidate", manifest.elements, 5.0, dataset, manifest.content_hash, manifest.table_versions,
        manifest.theories, {}, {}, {}, (), {}, "2026-01-01T00:00:00+00:00", 1.0, 10,
    )  # fmt: skip
    return publish_potential(lake, card, {"weights": b"1"})


def test_a_dataset_knows_its_sources(filled: Lake) -> None:
    filled.publish("d", FrameQuery(systems=("Mg-O", "Ca-O"), only_good=False))
    found = origins(filled, "d")
    assert [(o.key, o.members, o.n_calculations, o.n_frames, o.retracted) for o in found] == [
        ("a.tar", ("", "run"), 2, 9, ""),
        ("b.tar", ("",), 1, 5, ""),
    ]
    card = trained_on(filled, "d")
    assert origins_of_potential(filled, "p") == (card, found)


def test_a_source_knows_what_was_made_of_it(filled: Lake) -> None:
    filled.publish("d", FrameQuery(systems=("Mg-O",), only_good=False))
    filled.publish("e", FrameQuery(systems=("Ca-Mg-O",), only_good=False))
    trained_on(filled, "d")
    assert [(u.dataset, u.n_calculations, u.n_frames, u.potentials) for u in uses(filled, "b.tar")] == [("d", 1, 5, ("p:1",))]
    assert [u.dataset for u in uses(filled, "c.tar")] == ["e"]
    with pytest.raises(UnknownName, match=r"did you mean '.\.tar'"):
        uses(filled, "x.tar")


def test_later_datasets_leave_a_retracted_source_out(filled: Lake) -> None:
    old = filled.publish("d", ALL, THIRDS)
    trained_on(filled, "d")
    (record,) = retract(filled, "a.tar", "wrong pseudopotential")
    assert (record.key, record.n_calculations, record.datasets, record.potentials) == ("a.tar", 1, ("d",), ("p:1",))
    new = filled.publish("d-2", ALL, THIRDS)
    systems = {system: sum(n.values()) for system, n in new.manifest.element_systems.items()}
    assert systems == {"Ca-Mg-O": 30, "Mg-O": 5}
    assert "Ca-O" in old.manifest.element_systems
    old.verify()
    new.verify()
    sides = dict(old.index.select("frame_id", "split").iter_rows())
    assert all(sides[name] == split for name, split in new.index.select("frame_id", "split").iter_rows())
    assert sorted(preview(filled, ALL, THIRDS)) == sorted(new.frame_ids())
    assert filled.frames(systems="Ca-O", only_good=False).collect().height == 0
    assert filled.frames(systems="Ca-O", only_good=False, retracted=True).collect().height == 4


def test_a_calculation_stays_while_another_source_has_it(filled: Lake) -> None:
    (record,) = retract(filled, "b.tar", "copied without asking")
    assert (record.n_calculations, record.datasets, retracted_calculations(filled)) == (0, (), set())
    (record,) = retract(filled, "a.tar", "wrong")
    assert record.n_calculations == 2
    assert len(retracted_calculations(filled)) == 2
    assert sorted(each.key for each in retractions(filled)) == ["a.tar", "b.tar"]
    with pytest.raises(QueryError, match="are of retracted sources"):
        filled.publish("d", FrameQuery(systems=("Mg-O",), only_good=False))


def test_a_potential_is_marked_and_keeps_its_state(filled: Lake) -> None:
    filled.publish("d", ALL)
    trained_on(filled, "d")
    retract(filled, "c.tar", "not converged")
    history = filled.potentials().sort("recorded_at").select("state", "why").collect().rows()
    assert history[-1] == ("candidate", "trained on c.tar, which was retracted: not converged")
    card, found = origins_of_potential(filled, "p")
    assert card.state == "candidate"
    assert {o.key: o.retracted for o in found}["c.tar"] == "not converged"


def test_a_retraction_stands_once_and_can_be_taken_back(filled: Lake) -> None:
    first = retract(filled, "c.tar", "one")
    assert retract(filled, "c.tar", "two") == first
    assert len(filled.publish("d", ALL).frame_ids()) == 9
    assert restore(filled, "c.tar") == 1
    assert retractions(filled) == []
    with pytest.raises(AlreadyThere):
        filled.publish("d", ALL)
    assert len(filled.publish("d-2", ALL).frame_ids()) == 39
    with pytest.raises(QueryError, match="says no reason"):
        retract(filled, "c.tar", " ")


def test_a_source_is_retracted_by_its_id_too(filled: Lake) -> None:
    source_id = filled.sources().filter(pl.col("key") == "c.tar").collect()["source_id"][0]
    assert [record.key for record in retract(filled, source_id, "why not")] == ["c.tar"]
