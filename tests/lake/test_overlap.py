"""Which frames of a dataset another one holds on some side: by calculation, by former id, by structure."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from made_up_readings import CAO, MGO, made_block, made_calculation, made_reading

import lake
from lake.commit import commit_batch, stage
from lake.overlap import frames_in_common
from lake.splits import SPLITS
from schemas.calculations import Calculation
from schemas.datasets import FrameQuery, Split


def take(opened: lake.Lake, key: str, *calculations: Calculation) -> None:
    batch = hashlib.sha256(key.encode()).hexdigest()
    commit_batch(opened, [stage(opened, [made_reading(key, *calculations)], batch, 0)], batch)


def test_calculations_and_structures_that_were_tested_on_are_found(tmp_path: Path) -> None:
    opened = lake.open(str(tmp_path / "lake")).create()
    block = made_block(MGO, 4, 7)
    first, other = made_calculation(MGO, block=block), made_calculation(CAO, 3, 8)
    take(opened, "one.tar", first, other)
    everything = FrameQuery()
    tested = opened.publish("tested", FrameQuery(systems=("Mg-O",)), Split(test=0.99, validation=0.0))
    assert set(tested.frame_ids("test")) == set(tested.frame_ids())
    # The same structures once more with other energies: another calculation, and with other salts on another side.
    copy = made_calculation(MGO, block=replace(block, energy=block.energy + 0.001), seed=9)
    take(opened, "two.tar", copy, made_calculation(MGO, 2, 10))
    grown = opened.publish("grown", everything, Split(test=0.0, validation=0.0, salt="other"))
    rows = {row["frame_id"]: row["calculation_id"] for row in grown.index.iter_rows(named=True)}
    found = frames_in_common(grown, SPLITS[:2], tested, SPLITS[2:])
    assert {rows[name] for name in found} == {first.calculation_id, copy.calculation_id}
    assert len(found) == 8
    assert frames_in_common(grown, ("test",), tested, SPLITS) == set()
    assert frames_in_common(grown, SPLITS, tested, ("validation",)) == set()
