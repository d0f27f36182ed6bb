"""Equal structures with other labels at the same theory, and the matching of atoms behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_readings import CAO, LDA, MGO, PBE, made_block, made_calculation, made_reading

from lake import conflicts as module
from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.matching import match_atoms
from schemas.calculations import Calculation
from schemas.errors import QueryError
from schemas.frames import FrameBlock
from schemas.sources import SourceReading
from schemas.theory import LevelOfTheory

OTHER_MG = replace(PBE, pseudopotentials=(("Mg", "Mg_pv.upf"), ("O", "O.upf")))


def commit(lake: Lake, *readings: SourceReading) -> None:
    commit_batch(lake, [stage(lake, list(readings), "b" * 64, 0)], "b" * 64)


def moved(block: FrameBlock) -> FrameBlock:
    """Return the same structures and labels with atoms in another order, shifted, and one of them in another cell."""
    order = np.array([3, 1, 0, 2])
    positions = block.positions[:, order] + np.array([0.7, -0.4, 1.1])
    positions[:, 0] += block.cell[:, 1]
    return replace(block, numbers=block.numbers[order], positions=positions, forces=block.forces[:, order])


def run(block: FrameBlock, level: LevelOfTheory = PBE) -> Calculation:
    return made_calculation(block.numbers.tolist(), block.count, 0, level=level, block=block)


def test_a_lake_without_frames_has_no_conflict(folder_lake: Lake) -> None:
    found = folder_lake.conflicts()
    assert found.is_empty()
    assert found.schema == module.SCHEMA


def test_equal_labels_are_no_conflict_whatever_the_order_of_atoms(folder_lake: Lake) -> None:
    block = made_block(MGO, 3, 1)
    shift = replace(block, energy=block.energy + 4 * 0.0009)
    commit(folder_lake, made_reading("a.tar", run(block)), made_reading("b.tar", run(moved(shift))), made_reading("c.tar", run(block, LDA)))
    assert folder_lake.frames(systems="Mg-O").select("configuration_hash").unique().collect().height == 3
    assert folder_lake.conflicts().is_empty()
    assert folder_lake.conflicts(energy_tolerance=0.0005).height == 3


def test_an_energy_that_differs_is_told_with_its_sources(folder_lake: Lake) -> None:
    block = made_block(MGO, 2, 1)
    energy = block.energy.copy()
    energy[1] += 4 * 0.0015
    commit(folder_lake, made_reading("a.tar", run(block)), made_reading("b.tar", run(moved(replace(block, energy=energy)))))
    (row,) = folder_lake.conflicts().to_dicts()
    assert row["energy_difference"] == pytest.approx(0.0015, abs=1e-9)
    assert row["force_difference"] == pytest.approx(0.0, abs=1e-9)
    assert row["displacement"] < 1e-6
    assert (row["verdict"], row["reasons"], row["sources"], row["other_sources"]) == ("same", [], ["b.tar"], ["a.tar"])
    assert row["frame_id"].endswith(":1")
    assert row["other_frame_id"].endswith(":1")
    assert (row["element_system"], row["theory"]) == ("Mg-O", "PBE/plane waves/qe")


def test_forces_that_differ_are_told_for_the_atoms_that_belong_together(folder_lake: Lake) -> None:
    block = made_block(CAO, 1, 1)
    forces = block.forces.copy()
    forces[0, 2] += [0.03, 0.0, 0.04]
    other = moved(replace(block, forces=forces, energy=block.energy + 1e-6))
    commit(folder_lake, made_reading("a.tar", run(block)), made_reading("b.tar", run(other)))
    assert folder_lake.conflicts().is_empty()
    (row,) = folder_lake.conflicts(force_tolerance=0.04).to_dicts()
    assert row["force_difference"] == pytest.approx(0.05, abs=1e-6)


def test_setups_are_compared_within_and_across(folder_lake: Lake) -> None:
    block = made_block(MGO, 1, 1)
    far = replace(block, energy=block.energy + 400.0)
    farther = replace(block, energy=block.energy + 400.02)
    readings = [
        made_reading(f"{n}.tar", run(b, level)) for n, (b, level) in enumerate([(block, PBE), (far, OTHER_MG), (farther, OTHER_MG)])
    ]
    commit(folder_lake, *readings)
    across, within = folder_lake.conflicts().to_dicts()
    assert (across["sources"], across["other_sources"], across["verdict"]) == (["1.tar"], ["0.tar"], "alignable")
    assert any("pseudopotentials differ" in reason for reason in across["reasons"])
    assert (within["sources"], within["other_sources"], within["verdict"]) == (["2.tar"], ["1.tar"], "same")
    assert within["energy_difference"] == pytest.approx(0.005, abs=1e-9)


def test_doubtful_frames_and_missing_forces(folder_lake: Lake) -> None:
    block = made_block(MGO, 1, 1)
    without = replace(made_block(MGO, 1, 1, forces=False), energy=block.energy + 1.0)
    doubtful = replace(block, energy=block.energy + 2.0, flags=(("scf_not_converged",),))
    commit(folder_lake, made_reading("a.tar", run(block)), made_reading("b.tar", run(without)), made_reading("c.tar", run(doubtful)))
    (row,) = folder_lake.conflicts().to_dicts()
    assert (row["sources"], row["force_difference"]) == (["b.tar"], None)
    assert folder_lake.conflicts(only_good=False)["sources"].to_list() == [["c.tar"], ["b.tar"]]
    with pytest.raises(QueryError, match="energy tolerance"):
        folder_lake.conflicts(energy_tolerance=-1.0)


def test_portions_change_nothing(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [made_block(numbers, 6, 1) for numbers in (MGO, CAO)]
    others = [moved(replace(block, energy=block.energy + np.linspace(0.1, 1.0, 6))) for block in blocks]
    commit(folder_lake, made_reading("a.tar", *map(run, blocks)), made_reading("b.tar", *map(run, others)))
    whole = folder_lake.conflicts()
    assert whole.height == 12
    monkeypatch.setattr(module, "_FRAMES_AT_ONCE", 5)
    monkeypatch.setattr(module, "_ATOMS_AT_ONCE", 10)
    assert folder_lake.conflicts().equals(whole)


def test_atoms_are_matched_or_not() -> None:
    block = made_block([12, 12, 12, 8, 8, 8, 8], 1, 7)
    rng = np.random.default_rng(0)
    order = rng.permutation(7)
    cell = block.cell[0] + np.array([[0, 0, 0], [1.0, 0, 0], [0, -0.8, 0]])
    positions = block.positions[0]
    other = positions[order] + rng.integers(-2, 3, (7, 3)) @ cell + [0.3, 0.2, 0.9]
    match = match_atoms((block.numbers, block.numbers[order]), (positions, other), cell)
    assert match is not None
    assert order[match.order].tolist() == list(range(7))
    assert match.displacement < 1e-9
    noisy = match_atoms((block.numbers, block.numbers[order]), (positions, other + rng.normal(0, 0.01, (7, 3))), cell)
    assert noisy is not None
    assert noisy.order.tolist() == match.order.tolist()
    assert 0.001 < noisy.displacement < 0.06
    assert match_atoms((block.numbers, block.numbers[order]), (positions, rng.random((7, 3)) @ cell), cell) is None
    assert match_atoms((block.numbers, np.full(7, 8, np.int16)), (positions, positions), cell) is None
