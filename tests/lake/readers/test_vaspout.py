"""vaspout.h5, made up after its documented layout: the numbers of the vasprun.xml of the same run, and what the file does not tell."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import h5py
import numpy as np
import pytest
from made_up_outputs import tar_of
from made_up_vasp import Made, make_run, xml_text
from made_up_vaspout import STEPS, vaspout

from lake.readers import find_reader
from lake.reading import read_stream
from schemas.calculations import Calculation, Run
from schemas.errors import UnreadableOutput
from schemas.settings import LimitSettings


def read(data: bytes, name: str = "vaspout.h5") -> Run:
    spec = find_reader(name, data[: 2**16])
    assert spec is not None
    reader = spec.open()
    reader.feed(data)
    (run,) = reader.close()
    return run


def calculations(files: dict[str, bytes]) -> tuple[Calculation, ...]:
    found = read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), LimitSettings())
    assert found.rejections == ()
    return found.calculations


def test_reads_the_numbers_of_the_vasprun_of_the_same_run() -> None:
    """Sign and unit of the stress are those of vasprun.xml."""
    made = make_run(3, 4)
    run, text = read(vaspout(made)), read(xml_text(made), "vasprun.xml")
    assert (run.code, run.code_version, run.kind, run.complete) == ("vasp", "6.4.2", "md", True)
    for name in ("numbers", "cell", "positions", "forces", "stress", "energy", "energy_sigma0", "energy_internal"):
        np.testing.assert_allclose(getattr(run.frames, name), getattr(text.frames, name), atol=1e-12, err_msg=name)
    assert run.frames.energy_source == "VASP free energy TOTEN"
    assert all("scf_unknown" in flags for flags in run.frames.flags)


def test_the_level_of_theory_is_that_of_the_vasprun() -> None:
    made = make_run(2).with_tags(LHFCALC=".TRUE.", HFSCREEN="0.2")
    level, text = read(vaspout(made)).level_of_theory, read(xml_text(made), "vasprun.xml").level_of_theory
    assert level == text
    assert (level.functional, level.cutoff, level.kpoints, level.n_kpoints, level.charge) == ("HSE06", 400.0, (2, 3, 4), 2, 0.0)
    numeric = read(vaspout(made, {"input/incar/LHFCALC": 1})).level_of_theory
    assert numeric == level


def test_default_cutoff_and_charge_come_from_the_potentials() -> None:
    made = make_run(1)
    level = read(vaspout(made, {"input/incar/ENCUT": None, "results/electron_eigenvalues/nelectrons": 13.0})).level_of_theory
    assert (level.cutoff, level.charge) == (400.0, 1.0)
    bare = read(vaspout(made, {"input/incar/ENCUT": None, "input/potcar/content": None})).level_of_theory
    assert (bare.cutoff, bare.functional, bare.pseudopotentials) == (None, "", (("Mg", ""), ("O", "")))


def test_the_older_name_of_the_cutoff_counts() -> None:
    """As in real files: an INCAR with ENMAX has no ENCUT."""
    level = read(vaspout(make_run(1), {"input/incar/ENCUT": None, "input/incar/ENMAX": 550.0})).level_of_theory
    assert level.cutoff == 550.0


def test_a_stress_that_was_not_computed_is_null() -> None:
    """The file of real dynamics with ISIF = 0 has a table of zeros."""
    run = read(vaspout(make_run(2), {f"{STEPS}/stress": np.zeros((2, 3, 3))}))
    assert np.isnan(run.frames.stress).all()
    assert run.frames.stress_source == ""
    assert "malformed_values" not in run.frames.flags[0]


def test_dynamics_name_the_free_energy_otherwise() -> None:
    """What they call total energy holds the kinetic one."""
    made = make_run(3)
    run = read(vaspout(made, dynamics=True))
    assert run.frames.energy.tolist() == [step.free for step in made.steps]
    assert np.isnan(run.frames.energy_sigma0).all()


def test_cycles_of_newer_versions_tell_convergence() -> None:
    made = make_run(3)
    steps = (made.steps[0], replace(made.steps[1], cycle=60), replace(made.steps[2], change=0.01))
    run = read(vaspout(replace(made, steps=steps), cycles=True))
    assert run.frames.scf_converged.tolist() == [1, 0, 0]
    assert run.frames.n_scf_steps.tolist() == [4, 60, 4]
    said = read(vaspout(made, {f"{STEPS}/electronic_step_converged": np.array([0, 0, 1])}, cycles=True))
    assert said.frames.scf_converged.tolist() == [1, 1, 0]


@pytest.mark.parametrize("scaled", [True, False])
def test_the_scale_of_the_cell_counts_once(scaled: bool) -> None:
    """The cell of the steps with the scale, or without it, is the final one."""
    made = make_run(2)
    cells = np.array([step.cell for step in made.steps])
    changes = {"results/positions/scale": 4.2, "results/positions/lattice_vectors": cells[-1] / 4.2}
    run = read(vaspout(made, {**changes, f"{STEPS}/lattice_vectors": cells / (4.2 if scaled else 1.0)}))
    np.testing.assert_allclose(run.frames.cell, cells, atol=1e-12)


def test_what_the_file_does_not_tell_is_flagged() -> None:
    learned = read(vaspout(make_run(2).with_tags(ML_LMLFF=".TRUE.")))
    assert all("machine_learned" in flags for flags in learned.frames.flags)
    pressed = read(vaspout(make_run(2).with_tags(PSTRESS="10.0")))
    assert all("pressure_in_energy" in flags for flags in pressed.frames.flags)


def test_a_text_beside_it_gives_the_labels() -> None:
    made = make_run(3)
    (calculation,) = calculations({"run/vaspout.h5": vaspout(made, cycles=True), "run/vasprun.xml": xml_text(made)})
    assert calculation.files == ("run/vasprun.xml", "run/vaspout.h5")
    assert "sources_disagree" not in calculation.run.flags
    other = replace(made, steps=tuple(replace(step, free=step.free + 0.1) for step in made.steps))
    (flagged,) = calculations({"run/vaspout.h5": vaspout(other), "run/vasprun.xml": xml_text(made)})
    assert "sources_disagree" in flagged.run.flags
    (alone,) = calculations({"run/vaspout.h5": vaspout(made)})
    assert (alone.files, alone.run.format) == (("run/vaspout.h5",), "vaspout.h5")


@pytest.mark.parametrize("algorithm", ["GW0", "BSE", "ACFDT", "MP2"])
def test_runs_beyond_the_ground_state_are_refused(algorithm: str) -> None:
    with pytest.raises(UnreadableOutput, match="not_energies"):
        read(vaspout(make_run(1), {"input/incar/ALGO": algorithm}))


def test_other_energies_are_refused() -> None:
    tags = np.array(["step            STEP    ", "One el. energy  E1      ", "weight WEIGHT"], dtype="S")
    with pytest.raises(UnreadableOutput, match="not_energies"):
        read(vaspout(make_run(1), {f"{STEPS}/energies_tags": tags}))


def oszicar(made: Made) -> bytes:
    """Return the OSZICAR of a run, in the layout of VASP 5 and 6."""
    text = ""
    for n, step in enumerate(made.steps, 1):
        text += "       N       E                     dE             d eps       ncg     rms          rms(c)\n"
        for k in range(1, step.cycle + 1):
            change = step.change if k == step.cycle else 0.5
            text += f"DAV: {k:3d}    {step.free:17.12E}   {change:11.5E}   -0.69546E+00    24   0.165E+01\n"
        text += f"{n:4d} F= {step.free:.7E} E0= {step.sigma0:.7E}  d E =0.000000E+00\n"
    return text.encode()


def test_an_oszicar_beside_it_tells_how_the_cycles_ended() -> None:
    made = make_run(3)
    most = replace(made, steps=[made.steps[0], replace(made.steps[1], cycle=60), replace(made.steps[2], change=0.2)])
    (found,) = calculations({"r/vaspout.h5": vaspout(most), "r/OSZICAR": oszicar(most)})
    frames = found.run.frames
    assert (frames.n_scf_steps.tolist(), frames.scf_converged.tolist()) == ([made.steps[0].cycle, 60, made.steps[2].cycle], [1, 0, 0])
    assert ["scf_unknown" in flags for flags in frames.flags] == [False] * 3
    assert found.files == ("r/vaspout.h5", "r/OSZICAR")


def test_an_oszicar_of_other_steps_tells_nothing() -> None:
    made = make_run(3)
    other = replace(made, steps=[replace(step, free=step.free + 0.001) for step in made.steps])
    for text in (oszicar(other), oszicar(made)[:-200], oszicar(made) * 2):
        (found,) = calculations({"vaspout.h5": vaspout(made), "OSZICAR": text})
        assert found.run.frames.scf_converged.tolist() == [-1, -1, -1]
        assert any("OSZICAR" in note and "was not used" in note for note in found.run.notes)
        assert found.files == ("vaspout.h5",)


def test_an_oszicar_stays_out_of_folders_that_are_not_its_own() -> None:
    made = make_run(2)
    (found,) = calculations({"a/vaspout.h5": vaspout(made), "b/OSZICAR": oszicar(made)})
    assert found.run.frames.scf_converged.tolist() == [-1, -1]


def test_steps_that_are_not_all_there_are_counted() -> None:
    made = make_run(3)
    places = np.array([step.positions for step in made.steps])
    run = read(vaspout(made, {f"{STEPS}/position_ions": places[:2], f"{STEPS}/forces": None}))
    assert (run.frames.count, run.complete, run.flags, run.n_malformed_steps) == (2, False, ("malformed_steps", "truncated"), 1)
    assert np.isnan(run.frames.forces).all()


def test_the_potentials_leave_no_trace() -> None:
    run = read(vaspout(make_run(1)))
    assert "local part" not in repr((run.level_of_theory, run.notes, run.flags))


def test_an_hdf5_file_of_another_kind_is_not_taken() -> None:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["data"] = np.zeros(3)
    assert find_reader("wavefunctions.hdf5", out.getvalue()) is None
    with pytest.raises(UnreadableOutput):
        read(out.getvalue())


def test_damage_and_cuts_of_vaspout_never_raise_anything_else() -> None:
    chance = random.Random(3)
    data = vaspout(make_run(3), cycles=True)
    for _ in range(150):
        damaged = bytearray(data[: chance.randrange(8, len(data))] if chance.random() < 0.3 else data)
        for _ in range(chance.randrange(1, 20)):
            damaged[chance.randrange(8, len(damaged))] = chance.randrange(256)
        try:
            run = read(bytes(damaged))
        except UnreadableOutput:
            continue
        assert run.frames.count >= 1
