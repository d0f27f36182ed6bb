from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

import training.references
from schemas.datasets import Alignment, AlignmentStep, EnergyOffset
from schemas.errors import SettingsError, TrainingError
from schemas.frames import FrameArrays
from training.job import make_job
from training.references import alignment_notes, fit_references, isolated_atoms
from training.settings import TrainSettings
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


def test_weights_say_whom_to_believe() -> None:
    frames = with_energies({"O2": -14.0, "O4": -24.0})
    assert fit_references(frames).energies == pytest.approx({"O": -6.5})
    assert fit_references(frames, weights=np.array([3.0, 1.0])).energies == pytest.approx({"O": -6.75})
    assert fit_references(frames, weights=np.array([1.0, 0.0])).energies == pytest.approx({"O": -7.0})


def test_many_frames_are_gone_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = with_energies({"MgO": -9.0, "Mg": -2.1, "O2": -14.0, "Mg2": -4.4, "CaO": -8.0, "Ca": -1.0, "Ca2": float("nan")})
    whole = fit_references(frames)
    monkeypatch.setattr(training.references, "FRAMES_AT_ONCE", 2)
    assert fit_references(frames).energies == pytest.approx(whole.energies, rel=1e-12)
    assert fit_references(frames).rank == whole.rank == 3


def test_isolated_atoms_give_references_that_are_told() -> None:
    atoms = [
        Atoms("Mg"),
        Atoms("O", cell=[10, 10, 10], pbc=True),
        Atoms("O", cell=[12, 12, 12], pbc=True),
        Atoms("Ca", cell=[4, 4, 4], pbc=True),
    ]
    bare = from_atoms([*atoms, Atoms("MgO"), Atoms("CaO")])
    energies = np.array([-1.0, -1.5, -2.0, -3.0, -9.0, -8.0])
    frames = FrameArrays(bare.offsets, bare.numbers, bare.positions, bare.cell, bare.pbc, energies, bare.forces, bare.stress)
    known = isolated_atoms(frames)
    assert known == {"Mg": -1.0, "O": -2.0}, "the lowest of two spin states; a crystal of one atom is none"
    found = fit_references(frames, known=known)
    assert (found.energies["Mg"], found.energies["O"]) == (-1.0, -2.0)
    assert found.energies["Ca"] == pytest.approx((-3.0 * 1 + -6.0 * 0.5 * 0.5) / (1 + 0.25))
    assert found.rank == 3
    assert "Mg, O are the energies of isolated atoms" in found.notes[0] or "O, Mg are the energies of isolated atoms" in found.notes[0]


def test_a_card_says_how_energies_were_brought_together() -> None:
    assert alignment_notes(None) == ()
    offsets = (
        EnergyOffset("Mg", ("PBE/plane waves/qe",), "PBE/plane waves/qe, Mg.upf", 0.0, "reference", True, 5),
        EnergyOffset("Mg", ("PBE/plane waves/vasp",), "PBE/plane waves/vasp, PAW_PBE Mg", 1700.0, "equal structures", True, 5),
    )
    steps = (AlignmentStep("equal structures", 12, 1, 0.0012, 0.003),)
    notes = alignment_notes(Alignment("PBE/plane waves/qe", offsets, steps, ("look at it",)))
    assert "Mg in PBE/plane waves/vasp, PAW_PBE Mg: +1700.000000 eV by equal structures" in notes[0]
    assert "1.20 meV/atom" in notes[0]
    assert notes[1] == "look at it"
    assert "have the zeros of energy" in alignment_notes(Alignment("PBE", offsets[:1], ()))[0]


def test_a_run_takes_the_energies_of_isolated_atoms_where_it_is_asked_to() -> None:
    frames = with_energies({"Mg": -1.0, "O": -2.0, "MgO": -9.0})
    empty = with_energies({})
    assert make_job(frames, empty, TrainSettings()).references["Mg"] < -1.5
    job = make_job(frames, empty, TrainSettings(references="atoms"))
    assert dict(job.references) == {"O": -2.0, "Mg": -1.0}
    assert "isolated atoms" in job.notes[0]
    with pytest.raises(SettingsError, match="fitted or atoms"):
        TrainSettings(references="guessed")
