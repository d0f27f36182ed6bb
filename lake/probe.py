"""The start-up probe: a store that does not keep conditional writes apart would lose commits, so nothing is written to it."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from lake.store import ObjectStore
from schemas.errors import StoreUnsafe

RACERS: Final = 8
_PROBED: Final[set[tuple[str, str]]] = set()
"""Endpoints and buckets that passed in this process."""


def probe(store: ObjectStore) -> None:
    """Check that the store keeps conditional writes apart; raises StoreUnsafe with what was found.

    If-None-Match twice, If-Match with the right and a wrong ETag, and eight writers racing for one key; under a second,
    and leaves nothing behind.
    """
    folder = f".atomlake-probe/{secrets.token_hex(8)}"
    keys = [f"{folder}/{name}" for name in ("twice", "race")]
    try:
        _check_create(store, keys[0])
        if store.folder is None:
            _check_match(store, keys[0])
        _check_race(store, keys[1])
    finally:
        for key in keys:
            store.delete(key)
        if store.folder is not None:
            for empty in (store.folder / folder, (store.folder / folder).parent):
                if empty.is_dir() and not any(empty.iterdir()):
                    empty.rmdir()


def probe_once(store: ObjectStore) -> None:
    """Probe a bucket before this process writes its first commit there; later calls, and a local folder, cost nothing."""
    place = (store.settings.endpoint_url, store.bucket)
    if store.folder is None and place not in _PROBED:
        probe(store)
        _PROBED.add(place)


def _check_create(store: ObjectStore, key: str) -> None:
    if not store.put_if_absent(key, b"first"):
        raise _unsafe(store, "a new object was refused as if it were there already")
    if store.put_if_absent(key, b"second") or store.get(key) != b"first":
        raise _unsafe(store, "If-None-Match: * is ignored, a second writer replaced the first")


def _check_match(store: ObjectStore, key: str) -> None:
    etag = store.head(key).etag
    if store.put_if_match(key, b"third", "0" * 32) or store.get(key) != b"first":
        raise _unsafe(store, "If-Match with another ETag is ignored")
    if not store.put_if_match(key, b"third", etag) or store.get(key) != b"third":
        raise _unsafe(store, "If-Match with the right ETag is refused")


def _check_race(store: ObjectStore, key: str) -> None:
    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(lambda n: store.put_if_absent(key, b"%d" % n), range(RACERS)))
    if sum(won) != 1:
        raise _unsafe(store, f"{sum(won)} of {RACERS} writers racing for one new key were told that they won")
    if store.get(key) != b"%d" % won.index(True):
        raise _unsafe(store, "the writer that was told it won is not the one whose bytes are kept")


def _unsafe(store: ObjectStore, found: str) -> StoreUnsafe:
    return StoreUnsafe(
        f"{store.where}: {found}; commits to tables could be lost, so nothing was written. "
        "Use a store with atomic conditional PUTs (AWS S3, Ceph, SeaweedFS 4.48 or newer)"
    )
