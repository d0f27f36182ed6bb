"""Documents keep what they promise: made pages are fresh, both READMEs name the same commands, and these commands exist."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from lake.documentation import readers_page
from lake.readers import READERS
from lake.readers.described import READER_DOCS
from lake.readers.traps import TRAPS
from lake.theory_page import theory_page
from pipelines.cli import app
from schemas.documentation import tables_page

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(file: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(file.read_text()) if kind == language]


def command_tree() -> dict[str, typer.core.TyperCommand]:
    """Return every command of `atomlake` by its words: 'dataset create'."""
    found = {}
    group = get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            found |= {f"{name} {sub}": inner for sub, inner in command.commands.items()}
        else:
            found[name] = command
    return found


def test_tables_page_is_fresh(root: Path) -> None:
    assert (root / "docs/tables.md").read_text() == tables_page(), "run `make docs`"


def test_readers_page_is_fresh(root: Path) -> None:
    assert (root / "docs/readers.md").read_text() == readers_page(), "run `make docs`"


def test_theory_page_is_fresh(root: Path) -> None:
    assert (root / "docs/theory.md").read_text() == theory_page(), "run `make docs`"


def test_every_reader_is_described_and_the_tests_it_names_exist(root: Path) -> None:
    assert {doc.name for doc in READER_DOCS} == {spec.name for spec in READERS}
    texts = {file.stem: file.read_text() for file in (root / "tests").rglob("test_*.py")}
    named = [trap.test for doc in READER_DOCS for trap in doc.traps] + [test for trap in TRAPS for test in trap.tests]
    named += [proof for doc in READER_DOCS for proof in (doc.proof, doc.forces) if "::" in proof]
    missing = [test for test in named if f"def {test.split('::')[1]}(" not in texts.get(test.split("::")[0], "")]
    assert missing == []


def test_both_readmes_have_the_same_commands(root: Path) -> None:
    english, japanese = (blocks(root / name, "sh") for name in ("README.md", "README.ja.md"))
    assert english
    assert japanese == english


def test_readme_commands_parse(root: Path) -> None:
    tree = command_tree()
    lines = [line for block in blocks(root / "README.md", "sh") for line in block.splitlines()]
    ours = [shlex.split(line)[1:] for line in lines if line.startswith("atomlake ")]
    assert len(ours) >= 8
    for words in ours:
        depth = 2 if " ".join(words[:2]) in tree else 1
        command = tree[" ".join(words[:depth])]
        command.make_context("atomlake", list(words[depth:]), resilient_parsing=False)


def test_make_targets_of_the_readme_exist(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)(?:$|`)", (root / "README.md").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_readme_python_blocks_are_python(root: Path) -> None:
    found = blocks(root / "README.md", "python")
    assert found
    for text in found:
        ast.parse(text)


@pytest.mark.parametrize("name", sorted(command_tree()))
def test_every_command_and_option_has_help(name: str) -> None:
    command = command_tree()[name]
    assert command.help
    undocumented = [p.name for p in command.params if p.param_type_name == "option" and not p.help]
    assert undocumented == []
