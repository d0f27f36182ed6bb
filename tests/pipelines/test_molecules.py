"""Molecules without a cell and periodic ones of several elements, in files without units, by the same way as everything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import lake
from lake.collections.answers import read_answers
from lake.commit import commit_batch
from lake.inbox import batch_id, upload
from lake.store import connect, make_bucket
from pipelines.ingesting import read_share, waiting_batches
from pipelines.training_session import train_and_register
from schemas.datasets import FrameQuery, Split
from schemas.settings import Settings
from schemas.units import BOHR, HARTREE

REST = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
PAIRS = ((0, 1, 30.0), (0, 2, 30.0), (1, 2, 8.0))
TRAINING = {"epochs": 40, "channels": 3, "l_max": 1, "hidden": [8], "optimiser": "soap", "learning_rate": 5e-3, "cutoff": 3.0,
            "batch_atoms": 24, "dtype": "float64", "compile": "off", "loggers": [], "checkpoint_seconds": 0.0}  # fmt: skip

Frame = tuple[NDArray[np.float64], float, NDArray[np.float64]]


def waters(count: int, seed: int) -> list[Frame]:
    """Return positions, energies and forces of water with three springs (Å, eV)."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        places = REST + random.normal(scale=0.05, size=REST.shape)
        energy, forces = -2079.0, np.zeros_like(places)
        for one, other, stiffness in PAIRS:
            vector = places[other] - places[one]
            stretch = np.linalg.norm(vector) - np.linalg.norm(REST[other] - REST[one])
            energy += 0.5 * stiffness * stretch**2
            pull = stiffness * stretch * vector / np.linalg.norm(vector)
            forces[one] += pull
            forces[other] -= pull
        found.append((places, float(energy), forces))
    return found


def write_extxyz(frames: list[Frame], file: Path) -> Path:
    """Write frames in Ha and bohr, without a cell."""
    lines = []
    for places, energy, forces in frames:
        lines += ["3", f'Properties=species:S:1:pos:R:3:forces:R:3 energy={energy / HARTREE!r} pbc="F F F"']
        for symbol, place, force in zip("OHH", places / BOHR, forces / HARTREE * BOHR, strict=True):
            lines.append(" ".join([symbol, *(repr(float(value)) for value in (*place, *force))]))
    file.write_text("\n".join(lines) + "\n")
    return file


def write_deepmd(frames: list[Frame], folder: Path) -> Path:
    """Write frames in a periodic box as a DeePMD system."""
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    columns = zip(*frames, strict=True)
    for name, column in zip(("coord", "energy", "force"), columns, strict=True):
        np.save(folder / "set.000" / f"{name}.npy", np.reshape(column, (len(frames), -1)).squeeze())
    np.save(folder / "set.000" / "box.npy", np.tile(7.0 * np.eye(3).ravel(), (len(frames), 1)))
    return folder


@pytest.fixture(scope="module")
def filled(moto_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings of a lake that holds molecules and periodic frames, of each some to train on and others."""
    folder = tmp_path_factory.mktemp("molecules")
    store = replace(moto_settings.store, lake_url="s3://lake-of-molecules", inbox_bucket="molecules-in")
    make_bucket(store.inbox_bucket, store)
    settings = Settings(home=folder, store=store)
    inbox = connect(f"s3://{store.inbox_bucket}", store)
    bohr, angstrom = (read_answers({"units": said}) for said in ("energy=Ha,length=bohr", "energy=eV,length=Angstrom"))
    for number, project in enumerate(("train", "other")):
        upload(inbox, [write_extxyz(waters(40, number), folder / f"{project}.xyz")], project=f"molecule-{project}", answers=bohr)
        upload(inbox, [write_deepmd(waters(40, number + 2), folder / project)], project=f"box-{project}", answers=angstrom)
    for sources in waiting_batches(settings, at_once=True):
        batch = batch_id(sources)
        commit_batch(lake.open(settings=settings), [read_share(settings, sources, batch, 0)], batch)
    return settings


@pytest.mark.parametrize(("kind", "periodic", "seed"), [("molecule", False, 0), ("box", True, 2)])
def test_files_without_units_train_by_the_same_way(filled: Settings, kind: str, periodic: bool, seed: int) -> None:
    opened = lake.open(settings=filled)
    dataset = opened.publish(kind, FrameQuery(project=f"{kind}-train"), Split(test=0.0, validation=0.0))
    arrays = dataset.arrays("train")
    assert (arrays.count, arrays.pbc.any(), arrays.pbc.all()) == (40, periodic, periodic)
    expected = waters(40, seed)
    np.testing.assert_allclose(arrays.energy, [energy for _, energy, _ in expected], rtol=1e-9)
    np.testing.assert_allclose(arrays.forces, np.concatenate([forces for _, _, forces in expected]), atol=1e-8)
    assert np.isnan(arrays.stress).all()

    import training

    card = train_and_register(filled, kind, kind, TRAINING)
    assert card.elements == ("H", "O")
    other = opened.publish(f"{kind}-other", FrameQuery(project=f"{kind}-other"), Split(test=0.999, validation=0.0))
    found = training.evaluate(training.load(kind, lake=opened), other.arrays("test"), "test")
    assert found.overall.n_frames == 40
    assert found.overall.force_mae < 0.25 * found.trivial.force_mae
    assert found.overall.energy_mae < 0.5 * found.trivial.energy_mae
