"""The house: imports go one way, room names are ours alone, the wheel holds the four rooms and nothing else."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOMS = ("schemas", "lake", "training", "pipelines")
HEAVY = {
    "schemas": {"numpy", "pyarrow"},
    "lake": {
        "numpy",
        "pyarrow",
        "boto3",
        "botocore",
        "deltalake",
        "polars",
        "ase",
        "obstore",
        "isal",
        "zstandard",
        "yaml",
        "scipy",
        "h5py",
        "lmdb",
    },
}


def imports(file: Path) -> set[str]:
    """Return the top-level names that a file imports, wherever in it."""
    found: set[str] = set()
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [stub for stub in node.body if not is_stub(stub)] or [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def is_stub(node: ast.stmt) -> bool:
    """Return whether a statement imports type stubs, which are not there when the program runs."""
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"mypy_boto3_s3", "_typeshed"}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_left(root: Path, room: str) -> None:
    to_the_right = set(ROOMS[ROOMS.index(room) + 1 :])
    files = sorted((root / room).rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(root)): sorted(imports(f) & to_the_right) for f in files if imports(f) & to_the_right}
    assert wrong == {}


@pytest.mark.parametrize("room", sorted(HEAVY))
def test_a_desk_user_needs_only_the_core_libraries(root: Path, room: str) -> None:
    allowed = HEAVY[room] | set(sys.stdlib_module_names) | set(ROOMS)
    foreign = {str(f.relative_to(root)): sorted(imports(f) - allowed) for f in sorted((root / room).rglob("*.py")) if imports(f) - allowed}
    assert foreign == {}


def test_only_settings_reads_the_environment(root: Path) -> None:
    readers = []
    for room in ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
                    readers.append(str(file.relative_to(root)))
    assert set(readers) == {"schemas/settings.py"}


def test_no_other_distribution_ships_a_room() -> None:
    owners: dict[str, set[str]] = {}
    for distribution in importlib.metadata.distributions():
        for file in distribution.files or ():
            top = file.parts[0].removesuffix(".py")
            if top in ROOMS:
                owners.setdefault(top, set()).add(distribution.metadata["Name"])
    assert all(names <= {"atomlake"} for names in owners.values()), owners


def test_wheel_holds_the_rooms_alone(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(root)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)


def test_no_vague_file_names(root: Path) -> None:
    vague = {"utils", "helpers", "common", "misc"}
    assert [str(f) for room in ROOMS for f in (root / room).rglob("*.py") if f.stem in vague] == []
