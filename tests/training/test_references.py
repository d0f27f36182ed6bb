from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from schemas.errors import TrainingError
from schemas.frames import FrameArrays
from training.references import fit_references
from training.structures import from_atoms


def with_energies(formulas: dict[str, float]) -> FrameArrays:
    bare = from_atoms([Atoms(formula) for formula in formulas])
    energies = np.array(list(formulas.values()))
    return FrameArrays(bare.offsets, bare.numbers, bare.positions, bare.cell, bare.pbc, energies, bare.forces, bare.stress)


def test_energies_of_elements_are_found_where_compositions_tell_them_apart() -> None:
    found = fit_references(with_energies({"MgO": -9.0, "Mg": -2.0, "O2": -14.0}))
    assert found.energies == pytest.approx({"O": -7.0, "Mg": -2.0})
    assert found.rank == 2
    assert found.notes == ()


def test_one_composition_takes_the_minimum_norm_and_says_so() -> None:
    found = fit_references(with_energies({"MgO": -9.0, "Mg4O4": -36.0}))
    assert found.energies == pytest.approx({"O": -4.5, "Mg": -4.5})
    assert "rank 1 for 2 elements" in found.notes[0]


def test_frames_without_energy_do_not_count() -> None:
    found = fit_references(with_energies({"O2": -14.0, "O": float("nan")}))
    assert found.energies == pytest.approx({"O": -7.0})
    with pytest.raises(TrainingError, match="none of the 1 training frames has an energy"):
        fit_references(with_energies({"O": float("nan")}))
