from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from schemas.errors import SettingsError, TrainingError
from training.fit import fit
from training.job import FrameSplits, make_job, write_job
from training.settings import TrainSettings, settings_from, settings_from_toml


def test_mapping_and_back_is_identity() -> None:
    settings = TrainSettings(hidden=(8, 4), four_body=True, cutoff=4.5, dtype="float64")
    assert settings_from(json.loads(json.dumps(settings.to_mapping()))) == settings
    as_texts = {name: str(value) if isinstance(value, bool) else value for name, value in settings.to_mapping().items()}
    assert settings_from(as_texts) == settings


def test_toml_keeps_defaults() -> None:
    settings = settings_from_toml("epochs = 7\nhidden = [4]\ncutoff = 6")
    assert (settings.epochs, settings.hidden, settings.cutoff, settings.seed) == (7, (4,), 6.0, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "no setting 'epoch' (did you mean 'epochs'?)"),
        ({"epochs": "3"}, "epochs is '3', expected a whole number"),
        ({"cutoff": "five"}, "cutoff is 'five', expected a finite number"),
        ({"hidden": [1.5]}, "expected a list of whole numbers"),
        ({"potential": "acsf", "symmetry_functions": "Cu 2 Cu 0.4 0.0 4.5"}, "expected a list of texts"),
        ({"potential": "acsf", "symmetry_functions": [2]}, "expected a list of texts"),
        ({"symmetry_functions": ["Cu 2 Cu 0.4 0.0 4.5"]}, "potential is 'hdnnp', expected acsf where symmetry_functions are given"),
        ({"optimiser": "soup"}, "optimiser is 'soup' (did you mean 'soap'?), expected adamw or soap"),
        ({"four_body": 1}, "expected true or false"),
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"energy_weight": 0.0, "energy_weight_end": 3.0}, "energy_weight_end is 3.0, expected 0, or above zero like energy_weight"),
        ({"dtype": "half"}, "dtype is 'half', expected float32 or float64"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        settings_from(values)


def test_each_setting_has_a_sentence() -> None:
    source = __import__("inspect").getsource(TrainSettings)
    for field in dataclasses.fields(TrainSettings):
        assert re.search(rf'    {field.name}: [^\n]+\n    """[A-Z][^"]+\."""', source), field.name


def test_descriptor_acsf_of_hdnnp_is_the_architecture_acsf() -> None:
    assert TrainSettings(potential="hdnnp", descriptor="acsf").architecture == "acsf"
    assert TrainSettings(potential="acsf").architecture == "acsf"
    assert TrainSettings().architecture == "hdnnp"
    assert TrainSettings(descriptor="acsf", symmetry_functions=("Cu 2 Cu 0.4 0.0 4.5",)).architecture == "acsf"


def test_missing_mlflow_is_told(splits: FrameSplits, small: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.fit.importlib.util.find_spec", lambda name: None)
    write_job(make_job(splits.train, splits.validation, dataclasses.replace(small, loggers=("mlflow",))), tmp_path)
    with pytest.raises(TrainingError, match=r"pip install 'atomlake\[mlflow\]'"):
        fit(tmp_path)


def test_unknown_logger_is_named() -> None:
    with pytest.raises(SettingsError, match="names out of csv, tensorboard, mlflow"):
        TrainSettings(loggers=("wandb",))
