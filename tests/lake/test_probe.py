"""The probe accepts stores that keep conditional writes apart and refuses those that do not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import lake
from lake.probe import probe
from lake.store import ObjectStore, connect
from schemas.errors import StoreUnsafe
from schemas.settings import StoreSettings


@pytest.mark.parametrize("kind", ["folder", "moto", pytest.param("weed", marks=pytest.mark.s3)])
def test_sound_stores_pass_and_nothing_is_left(kind: str, request: pytest.FixtureRequest) -> None:
    opened: lake.Lake = request.getfixturevalue(f"{kind}_lake")
    before = sorted(found.key for found in opened.store.list())
    start = time.monotonic()
    probe(opened.store)
    assert time.monotonic() - start < 5
    assert sorted(found.key for found in opened.store.list()) == before
    if opened.store.folder is not None:
        assert not (opened.store.folder / ".atomlake-probe").exists()


class IgnoresConditions(ObjectStore):
    """A store like some S3 servers: a conditional PUT is an unconditional one."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True


class LosesRaces(ObjectStore):
    """A store that looks before it writes, but not in one step."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if self.exists(key):
            return False
        time.sleep(0.2)
        self.put(key, data)
        return True


@pytest.mark.parametrize(("kind", "found"), [(IgnoresConditions, "If-None-Match"), (LosesRaces, "8 writers racing")])
def test_unsafe_stores_are_refused(kind: type[ObjectStore], found: str, tmp_path: Path) -> None:
    store = kind(str(tmp_path), StoreSettings())
    with pytest.raises(StoreUnsafe, match=found):
        probe(store)
    assert list(connect(str(tmp_path), StoreSettings()).list()) == []
