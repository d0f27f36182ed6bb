"""Labels and units of collections: what is said is taken, what is left open is asked with a proposal, what cannot be right is flagged."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_collections import CELL, extxyz_of, made_frames, numbers

from lake.collections.answers import Answers, read_answers, section_of
from lake.collections.proposals import NeedsUnits, settled
from lake.collections.records import Collection
from lake.readers.collections.extxyz import ExtxyzReader
from lake.theory import theory_key, verdict
from schemas.errors import QueryError, UnreadableOutput
from schemas.flags import DISQUALIFYING
from schemas.units import BOHR, GPA, HARTREE, KCAL_PER_MOL, RYDBERG

FRAMES = made_frames(20)
EV = "energy=eV,length=Angstrom"
UNITS = {
    "eV, Å": (1.0, 1.0, EV),
    "Ha, bohr": (HARTREE, BOHR, "energy=Ha,length=bohr"),
    "kcal/mol, Å": (KCAL_PER_MOL, 1.0, "energy=kcal/mol,length=Angstrom"),
}


def collection(text: str) -> Collection:
    reader = ExtxyzReader()
    reader.feed(text.encode())
    return reader.collected()


def said(units: str = EV, keys: str = "", theory: str = "") -> Answers:
    return read_answers({"units": units, "keys": keys, "theory": theory})


def text_of(energy: float = 1.0, length: float = 1.0, prefix: str = "", more: str = "", base: float = -5.2) -> str:
    return "".join(extxyz_of(f, energy=energy, length=length, prefix=prefix, more=more) for f in made_frames(20, base=base))


@pytest.mark.parametrize(("energy", "length", "units"), UNITS.values(), ids=list(UNITS))
def test_numbers_are_converted_once(energy: float, length: float, units: str) -> None:
    (run,) = settled(collection(text_of(energy, length)), said(units))
    np.testing.assert_allclose(run.frames.energy, [f.energy for f in FRAMES], rtol=1e-14)
    np.testing.assert_allclose(run.frames.positions, [f.positions for f in FRAMES], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(run.frames.forces, [f.forces for f in FRAMES], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(run.frames.cell[0], CELL, rtol=1e-14)
    assert run.flags == ()
    if units == EV:
        assert np.array_equal(run.frames.energy, [f.energy for f in FRAMES])
        assert np.array_equal(run.frames.forces, [f.forces for f in FRAMES])


@pytest.mark.parametrize(("energy", "length", "base", "proposal"), [
    (1.0, 1.0, -5.2, EV),
    (HARTREE, BOHR, -1800.0, "energy=Ha,length=bohr"),
    (HARTREE, 1.0, -3403.0, "energy=Ha,length=Angstrom"),
    (KCAL_PER_MOL, 1.0, -3403.0, "energy=kcal/mol,length=Angstrom"),
    (RYDBERG, BOHR, -950.0, "energy=Ry,length=bohr"),
])  # fmt: skip
def test_units_are_proposed_and_never_taken(energy: float, length: float, base: float, proposal: str) -> None:
    with pytest.raises(NeedsUnits) as failure:
        settled(collection(text_of(energy, length, base=base)), member="a.xyz")
    assert failure.value.reason == "needs_units"
    first, second = failure.value.proposal.units.energy, failure.value.proposal.units.length
    expected = proposal if base not in (-1800.0, -950.0) else f"energy={first},length={proposal.rpartition('=')[2]}"
    assert f"energy={first},length={second}" == expected
    assert failure.value.proposal.keys.energy == "energy"
    assert f"--units '{expected}'" in failure.value.detail
    assert "a.xyz.atomlake.yaml" in failure.value.remedy
    settled(collection(text_of(energy, length, base=base)), failure.value.proposal)


def test_a_force_in_other_units_than_the_energy_shows_in_the_work() -> None:
    frames = made_frames(20, base=-3403.0)
    mixed = "".join(_with_forces_of(extxyz_of(frame, energy=HARTREE), frame.forces) for frame in frames)
    with pytest.raises(NeedsUnits) as failure:
        settled(collection(mixed))
    assert failure.value.proposal.units.force == "eV/Angstrom"
    (run,) = settled(collection(mixed), said("energy=Ha,length=Angstrom"))
    assert "units_implausible" in run.flags
    assert any("times the work of the forces" in note for note in run.notes)


def _with_forces_of(text: str, forces: np.ndarray) -> str:  # type: ignore[type-arg]
    lines = text.splitlines()
    rows = [" ".join([*line.split()[:4], numbers(force)]) for line, force in zip(lines[2:], forces, strict=True)]
    return "\n".join([*lines[:2], *rows]) + "\n"


@pytest.mark.parametrize(
    ("text", "units"),
    [
        (text_of(), "energy=eV,length=bohr"),
        (text_of(length=BOHR), EV),
        (text_of(base=-3403.0), "energy=Ha,length=Angstrom"),
        (text_of(KCAL_PER_MOL, base=-3403.0), EV),
        (text_of(HARTREE, base=-3403.0), EV),
    ],
    ids=["Å as bohr", "bohr as Å", "eV as Ha", "kcal/mol as eV", "Ha as eV"],
)
def test_grossly_wrong_units_are_flagged(text: str, units: str) -> None:
    (run,) = settled(collection(text), said(units))
    assert "units_implausible" in run.flags
    assert "units_implausible" in DISQUALIFYING
    assert run.notes[-1].startswith(("with lengths", "with energies"))


def test_gradients_in_place_of_forces_are_flagged() -> None:
    frames = made_frames(20)
    text = "".join(_with_forces_of(extxyz_of(frame), -frame.forces) for frame in frames)
    (run,) = settled(collection(text), said())
    assert "units_implausible" in run.flags
    assert "gradients" in run.notes[-1]


def test_of_several_energies_the_depositor_names_the_label() -> None:
    both = "".join(extxyz_of(frame, prefix="dft_", more=f"mace_energy={frame.energy + 0.01!r}") for frame in FRAMES)
    with pytest.raises(NeedsUnits, match="which of dft_energy, mace_energy is the energy") as failure:
        settled(collection(both), said())
    assert failure.value.proposal.keys.energy == "dft_energy"
    (run,) = settled(collection(both), said(keys="energy=dft_energy"))
    assert np.array_equal(run.frames.energy, [f.energy for f in FRAMES])
    assert "'mace_energy' was not used: by its name a prediction of a learned potential" in run.notes
    (other,) = settled(collection(both), said(keys="energy=mace_energy,forces=none"))
    assert other.frames.energy[0] == FRAMES[0].energy + 0.01
    assert np.isnan(other.frames.forces).all()


def test_one_prediction_alone_is_no_label_until_it_is_named() -> None:
    with pytest.raises(NeedsUnits, match="which of mace_energy is the energy"):
        settled(collection(text_of(prefix="mace_")), said())


def test_equal_energies_under_two_names_are_one() -> None:
    (run,) = settled(collection("".join(extxyz_of(f, more=f"free_energy={f.energy!r}") for f in FRAMES)), said())
    assert run.frames.energy[3] == FRAMES[3].energy
    with pytest.raises(NeedsUnits) as failure:
        settled(collection("".join(extxyz_of(f, more=f"free_energy={f.energy - 0.1!r}") for f in FRAMES)), said())
    assert failure.value.proposal.keys.energy == "free_energy"


def test_a_misspelt_key_is_told_with_the_nearest_one() -> None:
    with pytest.raises(NeedsUnits, match=r"no frame has 'REF_enrgy' \(did you mean 'REF_energy'\?\)"):
        settled(collection(text_of(prefix="REF_")), said(keys="energy=REF_enrgy"))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"units": "energy=hartre,length=bohr"}, "did you mean 'hartree'"),
        ({"units": "enrgy=eV"}, "did you mean 'energy'"),
        ({"units": "energy=eV,length=Angstrom,force=eV"}, "an energy by a length"),
        ({"units": "energy=eV,stress_order=xx yy zz"}, "the six parts"),
        ({"units": "energy=eV,stress_sign=plus"}, "'tension' or 'compression'"),
        ({"keys": "energie=E"}, "did you mean 'energy'"),
        ({"theory": "functionl=PBE"}, "did you mean 'functional'"),
        ({"theory": "cutoff=high"}, "expected a number"),
        ({"units": "eV and bohr"}, "NAME=VALUE"),
    ],
)
def test_misspelt_answers_are_errors_with_a_suggestion(sections: dict[str, str], words: str) -> None:
    with pytest.raises(QueryError, match=words):
        read_answers(sections)


def test_names_of_units_as_people_write_them() -> None:
    units = read_answers(
        {"units": section_of("units", {"energy": "Hartree", "length": "a.u.", "stress": "eV/Å**3", "force": "hartree/a0"})}
    ).units
    assert (units.energy, units.length, units.stress, units.force) == ("Ha", "bohr", "eV/Angstrom^3", "Ha/bohr")


def test_stress_and_virial_by_the_conventions_that_are_said() -> None:
    stress, volume = FRAMES[0].stress, float(np.linalg.det(CELL))
    xx, xy, xz, _, yy, yz, _, _, zz = stress.ravel()
    nine = collection(extxyz_of(FRAMES[0], more=f'stress="{numbers(stress)}"'))
    (run,) = settled(nine, said(f"{EV},stress=eV/A^3"))
    assert np.array_equal(run.frames.stress[0], stress)
    (left,) = settled(nine, said())
    assert np.isnan(left.frames.stress).all()
    assert any(note.startswith("stress was left out") for note in left.notes)
    vasp = collection(extxyz_of(FRAMES[0], more=f'stress="{numbers(-np.array([xx, yy, zz, xy, yz, xz]) / GPA * 10)}"'))
    (run,) = settled(vasp, said(f"{EV},stress=kbar,stress_sign=compression,stress_order=XX YY ZZ XY YZ ZX"))
    np.testing.assert_allclose(run.frames.stress[0], stress, rtol=1e-12)
    virial = collection(extxyz_of(FRAMES[0], more=f'virial="{numbers(-stress * volume)}"'))
    (run,) = settled(virial, said(f"{EV},virial=eV"))
    np.testing.assert_allclose(run.frames.stress[0], stress, rtol=1e-12)
    (run,) = settled(virial, said(f"{EV},virial=eV,virial_sign=tension"))
    np.testing.assert_allclose(run.frames.stress[0], -stress, rtol=1e-12)


def test_a_level_that_is_not_said_is_the_collections_own() -> None:
    (run,) = settled(collection(text_of()), said())
    (other,) = settled(collection(text_of(base=-5.3).replace("2.05", "2.06")), said())
    assert theory_key(run.level_of_theory).startswith("functional not known+collection(")
    assert theory_key(run.level_of_theory).endswith("/basis not known/extxyz")
    assert verdict(run.level_of_theory, run.level_of_theory).kind == "same"
    (different,) = settled(collection("".join(extxyz_of(f) for f in made_frames(3, seed=9))), said())
    assert verdict(run.level_of_theory, different.level_of_theory).kind == "incompatible"
    assert other.code == "extxyz"
    (named,) = settled(collection(text_of()), said(theory="code=vasp,functional=PBE,basis=plane waves,cutoff=520"))
    assert (theory_key(named.level_of_theory), named.level_of_theory.cutoff, named.code) == ("PBE/plane waves/vasp", 520.0, "vasp")


def test_charges_part_a_series() -> None:
    text = "".join(extxyz_of(frame, more=f"charge={i % 2}") for i, frame in enumerate(FRAMES))
    neutral, charged = settled(collection(text), said())
    assert (neutral.level_of_theory.charge, charged.level_of_theory.charge) == (0.0, 1.0)
    assert charged.frames.step.tolist() == list(range(1, 20, 2))


def test_a_step_is_the_place_in_the_file_and_malformed_frames_are_told() -> None:
    parts = [extxyz_of(frame) for frame in FRAMES[:4]]
    parts[1] = parts[1].replace("Mg ", "Qq ", 1)
    (run,) = settled(collection("".join(parts)), said())
    assert run.frames.step.tolist() == [0, 2, 3]
    assert run.n_malformed_steps == 1
    assert run.flags == ("malformed_steps",)
    assert "frame 1: 'Qq' is no element (left out)" in run.notes


def test_a_frame_without_its_energy_is_kept_and_has_none() -> None:
    text = "".join(extxyz_of(f) for f in FRAMES[:3]) + extxyz_of(FRAMES[3]).replace(" energy=", " other=")
    (run,) = settled(collection(text), said(keys="energy=energy"))
    assert np.isnan(run.frames.energy[3])
    assert run.frames.count == 4


def test_structures_alone_hold_no_label() -> None:
    with pytest.raises(UnreadableOutput) as failure:
        settled(collection("1\nProperties=species:S:1:pos:R:3 tag=3\nMg 0 0 0\n"), said())
    assert failure.value.reason == "no_complete_step"


def test_a_file_that_says_its_units_in_every_frame_needs_no_answer() -> None:
    text = "".join(extxyz_of(f, energy=HARTREE, length=BOHR, more='units="energy=Ha,length=bohr"') for f in FRAMES)
    (run,) = settled(collection(text))
    np.testing.assert_allclose(run.frames.energy, [f.energy for f in FRAMES], rtol=1e-14)
    with pytest.raises(NeedsUnits):
        settled(collection(text + extxyz_of(FRAMES[0])))


def proposal_of(text: str) -> Answers:
    with pytest.raises(NeedsUnits) as failure:
        settled(collection(text))
    return failure.value.proposal


def test_units_that_the_frames_name_one_by_one_are_held_to() -> None:
    text = "".join(extxyz_of(f, energy=HARTREE, length=BOHR, more="energy-unit=hartree force-unit=a.u.") for f in FRAMES)
    units = proposal_of(text).units
    assert (units.energy, units.length, units.force) == ("Ha", "bohr", "Ha/bohr")
    (run,) = settled(collection(text.replace("force-unit", "length_unit=bohr force-unit")))
    np.testing.assert_allclose(run.frames.forces, [f.forces for f in FRAMES], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("unit", "factor"), [("eV/angstrom", 1.0), ("hartree/bohr", HARTREE / BOHR)])
def test_a_column_that_names_the_unit_of_the_forces_is_believed(unit: str, factor: float) -> None:
    text = extxyz_of(FRAMES[0], more="energy_units=eV length_units=angstrom").replace(":forces:R:3", ":forces:R:3:force_units:S:1")
    lines = text.splitlines()
    (run,) = settled(collection("\n".join([*lines[:2], *(f"{line} {unit}" for line in lines[2:])]) + "\n"))
    np.testing.assert_allclose(run.frames.forces[0], FRAMES[0].forces * factor, rtol=1e-14)


@pytest.mark.parametrize("factor", [1.0, HARTREE, KCAL_PER_MOL], ids=["eV", "Ha", "kcal/mol"])
def test_isolated_atoms_tell_the_unit_whatever_the_zero_of_energy_is(factor: float) -> None:
    atoms = {"Mg": -61.3, "O": -77.7}
    frames = made_frames(1, base=-69.5 - 4.1)
    lone = "".join(f"1\nProperties=species:S:1:pos:R:3 energy={atoms[s] / factor!r}\n{s} 0 0 0\n" for s in sorted(set(frames[0].symbols)))
    told = proposal_of(lone + extxyz_of(frames[0], energy=factor))
    assert told.units.energy == {1.0: "eV", HARTREE: "Ha", KCAL_PER_MOL: "kcal/mol"}[factor]
    run = settled(collection(lone + extxyz_of(frames[0])), said())[-1]
    assert "units_implausible" not in run.flags


def test_small_forces_of_a_relaxed_structure_are_no_sign_of_another_unit() -> None:
    (frame,) = made_frames(1)
    told = proposal_of(_with_forces_of(extxyz_of(frame), frame.forces * 1e-3))
    assert (told.units.energy, told.units.force) == ("eV", "")


def test_energies_between_the_usual_zeros_prove_no_unit_wrong() -> None:
    (run,) = settled(collection(text_of(base=-29.0)), said())
    assert run.flags == ()


def test_a_column_of_gradients_is_minus_the_forces() -> None:
    text = "".join(_with_forces_of(extxyz_of(f), -f.forces) for f in FRAMES).replace(":forces:R:3", ":gradient:R:3")
    (run,) = settled(collection(text), said())
    assert np.array_equal(run.frames.forces, [f.forces for f in FRAMES])
    assert run.flags == ()
    assert any("opposite sign" in note for note in run.notes)


def test_tight_binding_and_force_fields_are_no_label_until_they_are_named() -> None:
    text = "".join(extxyz_of(f) for f in FRAMES).replace(" energy=", " energy_xtb=").replace(":forces:", ":forces_xtb:")
    with pytest.raises(NeedsUnits, match="which of energy_xtb is the energy"):
        settled(collection(text), said())


def test_parts_of_a_force_are_no_forces() -> None:
    row, parts = "0.5 0.5 0.5", ("force_ewald", "force_locpot", "force_nlpot", "constraint_force")
    columns = "".join(f":{name}:R:3" for name in parts)
    lines = extxyz_of(FRAMES[0]).replace(":forces:R:3", f":force:R:3{columns}").splitlines()
    text = "\n".join([*lines[:2], *(f"{line} {' '.join([row] * 4)}" for line in lines[2:])]) + "\n"
    (run,) = settled(collection(text), said())
    assert np.array_equal(run.frames.forces[0], FRAMES[0].forces)


def test_labels_of_one_stem_are_proposed_together_those_of_references_first() -> None:
    (frame,) = made_frames(1)
    text = extxyz_of(frame, more=f"free_energy={frame.energy - 0.2!r} dft_energy={frame.energy - 0.1!r}")
    lines = text.replace(":forces:R:3", ":forces:R:3:dft_force:R:3").splitlines()
    keys = proposal_of("\n".join([*lines[:2], *(f"{line} 0.1 0.2 0.3" for line in lines[2:])]) + "\n").keys
    assert (keys.energy, keys.forces) == ("dft_energy", "dft_force")


def test_short_names_of_an_energy_are_asked_about() -> None:
    assert proposal_of(text_of().replace(" energy=", " E0=")).keys.energy == "E0"
    (run,) = settled(collection(text_of(more="energy_sigma=0.001 energy_per_at=-5.1")), said())
    assert run.frames.energy[0] == FRAMES[0].energy
    with pytest.raises(UnreadableOutput) as failure:
        settled(collection("".join(extxyz_of(f, more="i=1 time=0.5") for f in FRAMES).replace(" energy=", " E=")), said())
    assert failure.value.reason == "no_complete_step"


def test_a_comment_that_is_a_number_and_columns_without_a_name() -> None:
    """As in MD17: the energy alone in the comment, forces behind the places."""
    rows = "".join(
        f"{s} {numbers(x)} {numbers(f)}\n" for s, x, f in zip(FRAMES[0].symbols, FRAMES[0].positions, FRAMES[0].forces, strict=True)
    )
    text = f"{len(FRAMES[0].symbols)}\n{FRAMES[0].energy!r}\n{rows}"
    with pytest.raises(
        UnreadableOutput, match="keys of its frames are comment; columns of three numbers an atom are columns5to7"
    ) as failure:
        settled(collection(text), said())
    assert failure.value.reason == "no_complete_step"
    (run,) = settled(collection(text), said(keys="energy=comment,forces=columns5to7"))
    assert run.frames.energy[0] == FRAMES[0].energy
    assert np.array_equal(run.frames.forces[0], FRAMES[0].forces)
    with pytest.raises(NeedsUnits, match="forces=NAME if these columns are forces: columns5to7"):
        settled(collection(text.replace("\n-", "\nenergy=-", 1)))
