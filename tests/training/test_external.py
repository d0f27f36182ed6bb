"""Models of MACE in an environment of their own: the worker by a stand-in for the package, and the package itself where it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.lj import LennardJones
from made_up_readings import MGO, made_calculation, made_reading

import lake
import training
from lake.commit import commit_batch, stage
from lake.exports import export
from lake.potentials import read_potential
from pipelines.external import add_external
from pipelines.promotion import judge
from pipelines.training_runs import decide_retraining
from schemas.datasets import FrameQuery, Split
from schemas.errors import QueryError, TrainingError
from schemas.settings import GateSettings, Settings, StoreSettings
from training.external import ExternalPotential
from training.structures import from_atoms

STAND_IN = '''
"""What the worker uses of mace.calculators, computing Lennard-Jones; a model is a JSON file of atomic numbers."""
import json
from types import SimpleNamespace
import torch
from ase.calculators.lj import LennardJones

class MACECalculator(LennardJones):
    def __init__(self, model_paths, device, default_dtype):
        assert (device, default_dtype) == ("cpu", "float64")
        super().__init__(sigma=1.8, epsilon=0.2, rc=4.0, smooth=True)
        print("words on standard output do not disturb")
        self.z_table = SimpleNamespace(zs=json.load(open(model_paths)))
        self.r_max, self.models = 4.0, [torch.nn.Linear(3, 1)]

    def calculate(self, atoms, *rest):
        if len(atoms) == 13:
            import os
            print("no thirteen atoms", file=__import__("sys").stderr, flush=True)
            os._exit(7)
        super().calculate(atoms, ["energy"], *rest)
'''


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model of a package that stands in for mace, in the Python that the settings name."""
    package = tmp_path / "site" / "mace"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.0"\n')
    (package / "calculators.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("ATOMLAKE_PARTNERS_MACE_PYTHON", sys.executable)
    monkeypatch.setenv("ATOMLAKE_HOME", str(tmp_path / "home"))
    model = tmp_path / "oxides.model"
    model.write_text(json.dumps([12, 8]))
    return model


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a lake in a folder with a dataset 'oxides'."""
    found = Settings(home=tmp_path / "home", store=StoreSettings(lake_url=str(tmp_path / "lake")))
    opened = lake.open(settings=found).create()
    readings = [made_reading(f"{seed}.tar", made_calculation(MGO, seed=seed)) for seed in range(10)]
    commit_batch(opened, [stage(opened, readings, "1" * 64, 0)], "1" * 64)
    opened.publish("oxides", FrameQuery(systems=("Mg-O",)), Split(validation=0.2, test=0.2))
    return found


def oxide() -> Atoms:
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * np.random.default_rng(0).normal(size=(3, 3))), scale_atoms=True)
    return atoms


def test_worker_gives_what_the_model_gives(stand_in: Path) -> None:
    potential = training.load(f"mace:{stand_in}")
    assert isinstance(potential, ExternalPotential)
    assert (potential.card.elements, potential.card.cutoff, potential.card.architecture) == (("O", "Mg"), 4.0, "mace")
    assert potential.card.software["mace-torch"] == "0.0"
    crystal, cluster = oxide(), molecule("O2")
    found = potential.energy_forces_stress(from_atoms([crystal, cluster]))
    for number, atoms in enumerate((crystal, cluster)):
        atoms.calc = LennardJones(sigma=1.8, epsilon=0.2, rc=4.0, smooth=True)
        assert found.energy[number] == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(found.forces, np.concatenate([crystal.get_forces(), cluster.get_forces()]), atol=1e-12)
    np.testing.assert_allclose(found.stress[0], crystal.get_stress(voigt=False), atol=1e-12)
    assert np.isnan(found.stress[1]).all()
    mine = oxide()
    mine.calc = potential.calculator()
    np.testing.assert_allclose(mine.get_stress(), crystal.get_stress(), atol=1e-12)
    np.testing.assert_allclose(mine.get_forces(), crystal.get_forces(), atol=1e-12)
    cluster.calc = potential.calculator()
    with pytest.raises(PropertyNotImplementedError, match="periodic along three axes"):
        cluster.get_stress()
    with pytest.raises(TrainingError, match="knows O, Mg but the structure also has Si"):
        potential.energy_forces_stress(from_atoms([bulk("Si")]))


def test_failures_are_told_with_what_the_worker_said(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    potential = training.load(f"mace:{stand_in}")
    with pytest.raises(TrainingError, match=r"(?s)ended with code 7:.*no thirteen atoms"):
        potential.energy_forces_stress(from_atoms([Atoms("O13", np.random.default_rng(0).normal(size=(13, 3)) * 9)]))
    with pytest.raises(TrainingError, match="there is no such file"):
        training.load(f"mace:{stand_in}x")
    stand_in.write_text("no model")
    with pytest.raises(TrainingError, match=r"oxides\.model: JSONDecodeError"):
        training.load(f"mace:{stand_in}")
    monkeypatch.setenv("ATOMLAKE_PARTNERS_MACE_PYTHON", "/no/python")
    with pytest.raises(TrainingError, match=r"'/no/python', the Python of MACE \(setting partners.mace_python\), does not run"):
        training.load(f"mace:{stand_in}")
    monkeypatch.delenv("ATOMLAKE_PARTNERS_MACE_PYTHON")
    monkeypatch.setattr("training.external.importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="MACE is not installed here, and no Python that has it is named"):
        training.load(f"mace:{stand_in}")


def test_external_potential_is_recorded_measured_and_judged(stand_in: Path, settings: Settings) -> None:
    opened = lake.open(settings=settings)
    card = add_external(opened, "oxides-mace", f"mace:{stand_in}", "oxides")
    assert (card.state, card.dataset, card.n_parameters) == ("candidate", "oxides", 4)
    arrays = opened.dataset("oxides").arrays("test")
    assert arrays.count
    loaded = training.load("oxides-mace", lake=opened)
    again = training.evaluate(loaded, arrays, "test", baseline=opened.dataset("oxides").arrays("train"))
    assert again == card.metrics["test"]
    judged = judge(opened, "oxides-mace", 1, GateSettings(steps=10))
    assert judged.decision is not None
    assert {check.name for check in judged.decision.checks} == {"derivatives", "energy conservation", "pair scan"}
    assert "was not trained here" in decide_retraining(settings, "oxides-mace").why
    with pytest.raises(QueryError, match="expected mace:FILE"):
        add_external(opened, "other", str(stand_in), "oxides")
    assert set(read_potential(opened, "oxides-mace")[1]) == {"mace.model", "parity.png"}


@pytest.mark.slow
def test_mace_itself_trains_on_our_export_and_is_measured(settings: Settings, tmp_path: Path) -> None:
    python = Path(os.environ.get("ATOMLAKE_PARTNERS_MACE_PYTHON", sys.executable))
    trainer = python.with_name("mace_run_train")
    if not trainer.exists():
        pytest.skip("mace-torch is not installed: set ATOMLAKE_PARTNERS_MACE_PYTHON to a Python that has it")
    opened = lake.open(settings=settings)
    dataset = opened.dataset("oxides")
    for split in ("train", "validation"):
        export(dataset.frames(split), tmp_path / f"{split}.h5")
    options = [
        "--name", "tiny", "--train_file", "train.h5", "--valid_file", "validation.h5", "--atomic_numbers", "[8, 12]",
        "--E0s", "{8: -7.0, 12: -7.0}",
        "--num_channels", "4", "--max_L", "0", "--max_ell", "1", "--num_interactions", "1", "--r_max", "4", "--correlation", "1",
        "--max_num_epochs", "2", "--batch_size", "4", "--device", "cpu", "--default_dtype", "float64", "--seed", "1",
    ]  # fmt: skip
    done = subprocess.run([str(trainer), *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    card = add_external(opened, "oxides-mace", f"mace:{tmp_path / 'tiny.model'}", "oxides")
    assert np.isfinite(card.metrics["test"].overall.force_mae)
    checks = judge(opened, "oxides-mace", 1, GateSettings(steps=10)).decision
    assert checks is not None
    assert checks.checks[0].passed, checks.checks[0].detail
