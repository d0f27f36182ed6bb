"""One local stack for all tests of this room, on free ports, with a flow server of a single small flow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from schemas.settings import DaskSettings, Settings

TICKING = """
from prefect import flow

@flow
def tick() -> str:
    return "ticked"

if __name__ == "__main__":
    tick.serve("ticking", interval=15, limit=1, print_starting_message=False)
"""


@dataclass(frozen=True)
class LocalStack:
    """A running stack, and how it was started."""

    settings: Settings
    """As it was asked for, before endpoints and credentials were put in."""
    flow_server: tuple[str, ...]
    complete: Settings
    """With endpoints and credentials."""
    started: tuple[str, ...]
    said: tuple[tuple[str, str], ...]


@pytest.fixture(scope="session")
def flow_server(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return the command of a flow server whose one deployment is due every few seconds."""
    file = tmp_path_factory.mktemp("flows") / "ticking.py"
    file.write_text(TICKING)
    return (sys.executable, str(file))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, flow_server: tuple[str, ...]) -> Iterator[LocalStack]:
    """Start the whole stack once; skips nothing: its binaries are dependencies."""
    from pipelines.ports import with_free_ports
    from pipelines.stack import down, up

    settings = replace(Settings(home=tmp_path_factory.mktemp("home")), dask=DaskSettings(workers=1))
    settings = with_free_ports(settings, keep=False)
    said: list[tuple[str, str]] = []
    try:
        state = up(settings, report=lambda name, what: said.append((name, what)), flow_server=flow_server)
        yield LocalStack(settings, flow_server, state.settings, state.started, tuple(said))
    finally:
        down(settings)


@pytest.fixture
def empty_home(tmp_path: Path) -> Settings:
    """Return settings of a stack that was never started, on free ports."""
    from pipelines.ports import with_free_ports

    return with_free_ports(Settings(home=tmp_path / "home"), keep=False)
