"""The command line: errors in words, exit codes that scripts can trust, JSON where it is asked for; no lake server needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lake.theory import theory_key
from pipelines.cli import app
from pipelines.commands.console import cell, finite
from pipelines.commands.datasets import limits_of
from pipelines.commands.filters import days, numbers, symbols_in, whole_numbers
from pipelines.commands.potentials import parse_options
from schemas.errors import QueryError, SettingsError
from schemas.theory import LevelOfTheory


def atomlake(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ATOMLAKE_HOME": str(home), "ATOMLAKE_STORE_LAKE_URL": str(home / "lake")}
    return subprocess.run([sys.executable, "-m", "pipelines.cli", *words], env=environment, capture_output=True, text=True, check=False)


def test_inspect_needs_no_lake_and_prints_what_the_lake_would_store(root: Path, tmp_path: Path) -> None:
    done = atomlake(tmp_path, "inspect", str(root / "examples/mgcao/qe-pbe_mgo_rattle-000.tar.gz"), "--json", "--arrays")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (calculation,) = found["calculations"]
    assert found["rejections"] == []
    assert (calculation["code"], calculation["natoms"], calculation["n_frames"]) == ("qe", 8, 1)
    (frame,) = calculation["frames"]
    assert frame["energy"] == pytest.approx(-1979.10498491, abs=1e-6)
    assert frame["max_force"] == pytest.approx(0.906800, abs=1e-5)
    assert len(frame["forces"]) == 8


def test_an_error_is_told_in_words_with_exit_code_one(tmp_path: Path) -> None:
    done = atomlake(tmp_path, "frames", "--elements", "Mg,Xx")
    assert done.returncode == 1
    assert done.stderr.startswith("atomlake: ")
    assert "Traceback" not in done.stderr


def test_a_misspelt_setting_names_the_closest_one(tmp_path: Path) -> None:
    (tmp_path / "atomlake.toml").write_text("[ingest]\nintervall_seconds = 5\n")
    done = atomlake(tmp_path, "status")
    assert done.returncode == 1
    assert "did you mean 'interval_seconds'?" in done.stderr


def test_wrong_usage_has_exit_code_two() -> None:
    result = CliRunner().invoke(app, ["frames", "--no-such-option"])
    assert result.exit_code == 2


def test_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("atomlake ")


def test_help_of_the_command_line_imports_neither_torch_nor_prefect(tmp_path: Path) -> None:
    code = "import sys, pipelines.cli; print(sorted({'torch', 'lightning', 'prefect', 'distributed'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_elements_atoms_and_limits_are_read_from_text() -> None:
    assert symbols_in("Mg, Ca-O") == ("Mg", "Ca", "O")
    assert whole_numbers("--atoms", "1:64") == (1, 64)
    assert whole_numbers("--atoms", "8") == (8, 8)
    assert whole_numbers("--atoms", "8:") == (8, None)
    assert whole_numbers("--atoms", "") is None
    assert numbers("--energy-per-atom", "-8.5:-5") == (-8.5, -5.0)
    assert numbers("--energy-per-atom", ":-5") == (None, -5.0)
    assert days("--ingested", "2026-01-01:") == ("2026-01-01", None)
    assert days("--ingested", "2026-01-01") == ("2026-01-01", "2026-01-01")
    assert limits_of(["Ca-Mg-O=10"]) == {"Ca-Mg-O": 10}
    with pytest.raises(QueryError, match="--atoms is 'many'"):
        whole_numbers("--atoms", "many")
    with pytest.raises(QueryError, match="--density is '3', expected a range like"):
        numbers("--density", "3")
    with pytest.raises(QueryError, match="expected numbers like -8:-5"):
        numbers("--density", "light:heavy")
    with pytest.raises(QueryError, match="is no day"):
        days("--ingested", "yesterday:")
    with pytest.raises(QueryError, match="--limit is 'ten'"):
        limits_of(["ten"])


def test_training_settings_come_from_file_and_texts(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text("epochs = 5\ncutoff = 4.5\n")
    assert parse_options(["epochs=7", "hidden=[8, 8]", "dtype=float64"], file) == {
        "epochs": 7, "cutoff": 4.5, "hidden": [8, 8], "dtype": "float64",
    }  # fmt: skip
    with pytest.raises(SettingsError, match="FIELD=VALUE"):
        parse_options(["epochs"], None)


def test_json_holds_null_for_what_is_not_a_number() -> None:
    assert finite({"a": float("nan"), "b": [1.0, float("inf")]}) == {"a": None, "b": [1.0, None]}
    assert cell(None) == "–"
    assert cell(("a", "b")) == "a, b"


def test_theory_keys_begin_with_the_functional() -> None:
    assert theory_key(LevelOfTheory("qe", "PBE", basis="plane waves")) == "PBE/plane waves/qe"


@pytest.mark.parametrize(("library", "words", "extra"), [("psutil", ["up"], "pipelines"), ("torch", ["md", "x"], "training")])
def test_a_missing_extra_is_named(library: str, words: list[str], extra: str, tmp_path: Path) -> None:
    hide = f"import sys, importlib.util as u; sys.modules[{library!r}] = None; find = u.find_spec; "
    hide += f"u.find_spec = lambda name, *a: None if name == {library!r} else find(name, *a); "
    code = f"{hide}sys.argv = ['atomlake', *{words!r}]; import pipelines.cli; pipelines.cli.main()"
    environment = {**os.environ, "ATOMLAKE_HOME": str(tmp_path), "ATOMLAKE_STORE_LAKE_URL": str(tmp_path / "lake")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert f"pip install 'atomlake[{extra}]'" in done.stderr
