"""GSR.nc, HIST.nc and the log of real runs of ABINIT: the same numbers as their text, alone and together, damaged and cut."""

from __future__ import annotations

import gzip
import io
import itertools
import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_outputs import tar_of
from scipy.io import netcdf_file

from lake.readers import find_reader
from lake.readers.abinit.netcdf import read_gsr, read_hist
from lake.reading import Contents, read_stream
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.settings import LimitSettings

DATA = Path(__file__).parents[2] / "data/abinit"
RELAX = {name: f"al-vc-relax.{name}.gz" for name in ("run.abo", "runo_HIST.nc", "runo_GSR.nc", "log")}
SETS = {name: f"si-datasets.{name}.gz" for name in ("run.abo", "runo_DS1_GSR.nc", "runo_DS2_GSR.nc", "runo_DS3_GSR.nc", "log")}


def unpacked(file: str) -> bytes:
    return gzip.decompress((DATA / file).read_bytes())


def contents(files: dict[str, bytes]) -> Contents:
    return read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), LimitSettings())


def read(name: str, data: bytes) -> tuple[Run, ...]:
    spec = find_reader(name, data[: 2**16])
    assert spec is not None
    reader = spec.open()
    for start in range(0, len(data), 50_000):
        reader.feed(data[start : start + 50_000])
    return reader.close()


def assert_same(run: Run, text: Run, *, last: int) -> None:
    """The last frames of the text are those of the run, to the digits of the text."""
    for name in ("energy", "cell", "positions", "forces", "stress"):
        np.testing.assert_allclose(getattr(run.frames, name), getattr(text.frames, name)[-last:], rtol=1e-8, atol=1e-9)


def test_each_file_of_a_relaxation_has_the_numbers_of_the_text() -> None:
    """Stress included: its sign and unit are those of the text, whose sign the code's own pressure proves."""
    (text,) = read("run.abo", unpacked(RELAX["run.abo"]))
    found = {name: read(name, unpacked(RELAX[name]))[0] for name in RELAX}
    assert {name: (run.frames.count, run.complete, run.kind) for name, run in found.items()} == {
        "run.abo": (4, True, "vc-relax"), "runo_HIST.nc": (4, True, "vc-relax"), "runo_GSR.nc": (1, True, "unknown"),
        "log": (4, True, "vc-relax"),
    }  # fmt: skip
    for run in found.values():
        assert_same(run, text, last=run.frames.count)
    assert found["log"].frames.n_scf_steps.tolist() == text.frames.n_scf_steps.tolist() == [6, 4, 5, 4]


def test_the_header_of_gsr_tells_the_level_of_theory_of_the_text() -> None:
    (text,), (gsr,) = read("run.abo", unpacked(RELAX["run.abo"])), read("runo_GSR.nc", unpacked(RELAX["runo_GSR.nc"]))
    a, b = text.level_of_theory, gsr.level_of_theory
    for name in ("functional", "basis", "cutoff", "pseudopotentials", "kpoints", "n_kpoints", "smearing", "spin", "charge"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.smearing_width == pytest.approx(b.smearing_width, rel=1e-9)
    entropy = gsr.frames.energy - gsr.frames.energy_internal
    assert entropy[0] / 27.211386245988 == pytest.approx(2.20684204553591e-03, abs=1e-12)


@pytest.mark.parametrize("order", list(itertools.permutations(RELAX))[::5])
def test_all_files_of_one_run_are_one_calculation_with_the_labels_of_the_text(order: tuple[str, ...]) -> None:
    found = contents({f"run/{name}": unpacked(RELAX[name]) for name in order})
    (calculation,) = found.calculations
    assert found.rejections == ()
    assert calculation.files[0] == "run/run.abo"
    assert set(calculation.files) == {f"run/{name}" for name in RELAX}
    run = calculation.run
    assert "sources_disagree" not in run.flags
    assert (run.format, run.frames.count, run.frames.scf_converged.tolist()) == ("ABINIT output", 4, [1, 1, 1, 1])


def test_without_the_text_the_steps_are_of_hist_and_the_rest_comes_from_the_others() -> None:
    (calculation,) = contents({name: unpacked(RELAX[name]) for name in ("log", "runo_GSR.nc", "runo_HIST.nc")}).calculations
    run = calculation.run
    assert (run.format, run.frames.count, run.code_version) == ("ABINIT HIST.nc", 4, "9.6.2")
    assert (run.level_of_theory.functional, run.level_of_theory.cutoff) == ("LDA", pytest.approx(6 * 27.211386245988))
    assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist()) == ([1, 1, 1, 1], [6, 4, 5, 4])
    assert not any("scf_unknown" in flags for flags in run.frames.flags)


def test_each_dataset_goes_with_the_file_of_its_own_energy() -> None:
    files = {name: unpacked(SETS[name]) for name in ("runo_DS2_GSR.nc", "run.abo")}
    first, second = contents(files).calculations
    assert (first.files, second.files) == (("run.abo",), ("run.abo", "runo_DS2_GSR.nc"))
    assert "sources_disagree" not in second.run.flags


def test_gsr_of_a_run_without_self_consistency_is_refused() -> None:
    """It repeats the energy of the run before it, and says 0 for residuals."""
    found = contents({name: unpacked(SETS[name]) for name in SETS})
    assert [calculation.run.level_of_theory.cutoff for calculation in found.calculations] == [
        pytest.approx(ecut * 27.211386245988) for ecut in (5, 7)
    ]
    assert {(rejection.member, rejection.reason) for rejection in found.rejections} == {("runo_DS3_GSR.nc", "not_energies")}


def test_log_of_datasets_without_moving_atoms_has_no_forces() -> None:
    texts, logs = read("run.abo", unpacked(SETS["run.abo"])), read("log", unpacked(SETS["log"]))
    assert len(texts) == len(logs) == 2
    for text, log in zip(texts, logs, strict=True):
        np.testing.assert_allclose(log.frames.energy, text.frames.energy, atol=1e-9)
        np.testing.assert_allclose(log.frames.positions, text.frames.positions, atol=1e-9)
        np.testing.assert_allclose(log.frames.stress, text.frames.stress, atol=1e-9)
        assert np.isnan(log.frames.forces).all()
        assert log.frames.scf_converged.tolist() == [1]


def made_up_hist(steps: int, images: int = 0) -> bytes:
    """Return a HIST.nc of ABINIT 9 in the classic format, written with scipy; the last step is not filled in."""
    out = io.BytesIO()
    file = netcdf_file(out, "w")
    for name, length in (("time", None), ("natom", 2), ("ntypat", 1), ("npsp", 1), ("xyz", 3), ("six", 6), ("nimage", max(images, 1))):
        file.createDimension(name, length)
    image = ("nimage",) if images else ()
    file.createVariable("typat", "d", ("natom",))[:] = 1
    file.createVariable("znucl", "d", ("npsp",))[:] = 14
    made = {"mdtime": (), "etotal": image, "rprimd": (*image, "xyz", "xyz"), "xred": (*image, "natom", "xyz")}
    made |= {"fcart": (*image, "natom", "xyz"), "strten": (*image, "six"), "ekin": image}
    variables = {name: file.createVariable(name, "d", ("time", *dimensions)) for name, dimensions in made.items()}
    for k in range(steps):
        for name, variable in variables.items():
            shape = variable.shape[1:]
            variable[k] = np.broadcast_to(
                9.969209968386869e36 if k == steps - 1 else 5.0 * np.eye(3) if name == "rprimd" else 0.1 * k, shape
            )
    file.flush()
    return out.getvalue()


def test_a_step_that_was_begun_and_never_filled_is_no_step() -> None:
    (run,) = read_hist(io.BytesIO(made_up_hist(4)))
    assert (run.frames.count, run.complete, run.flags) == (3, False, ("truncated",))
    np.testing.assert_allclose(run.frames.energy / 27.211386245988, [0.0, 0.1, 0.2])


def test_several_images_are_refused() -> None:
    with pytest.raises(UnreadableOutput, match="images"):
        read_hist(io.BytesIO(made_up_hist(3, images=2)))


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(8, 4343))
def test_a_cut_hist_gives_the_first_of_the_same_steps(cut: int) -> None:
    data = unpacked(RELAX["runo_HIST.nc"])
    (whole,) = read_hist(io.BytesIO(data))
    try:
        (run,) = read("runo_HIST.nc", data[:cut])
    except UnreadableOutput:
        return
    assert run.frames.count < 4 or cut > len(data) - 64
    assert ("truncated" in run.flags) == (run.frames.count < 4) or cut > len(data) - 64
    for name in ("energy", "cell", "positions", "forces", "stress"):
        np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name)[: run.frames.count])


@pytest.mark.parametrize("file", ["al-vc-relax.runo_HIST.nc.gz", "al-vc-relax.runo_GSR.nc.gz"])
def test_random_damage_and_cuts_never_raise_anything_else(file: str) -> None:
    chance = random.Random(7)
    data, read_it = unpacked(file), read_hist if "HIST" in file else read_gsr
    for _ in range(40):
        damaged = bytearray(data[: chance.randrange(8, len(data))] if chance.random() < 0.3 else data)
        for _ in range(chance.randrange(1, 30)):
            place = chance.randrange(8, min(len(damaged), 20_000) if chance.random() < 0.5 else len(damaged))
            damaged[place] = chance.randrange(256)
        spec = find_reader(file.removesuffix(".gz"), bytes(damaged[: 2**16]))
        assert spec is not None, read_it
        reader = spec.open()
        reader.feed(bytes(damaged))
        try:
            runs = reader.close()
        except UnreadableOutput:
            continue
        assert runs[0].frames.natoms >= 1


def test_links_out_of_a_file_are_not_followed(tmp_path: Path) -> None:
    """An HDF5 file can name other files of this machine."""
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["etotal"] = -1.0
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["etotal"] = h5py.ExternalLink(str(other), "etotal")
        file["primitive_vectors"], file["reduced_atom_positions"] = np.eye(3) * 5, np.zeros((1, 3))
        file["atom_species"], file["atomic_numbers"] = np.array([1]), np.array([14.0])
    with pytest.raises(UnreadableOutput, match="no energy"):
        read_gsr(out)
