"""Potentials of other programs in the registry."""

from __future__ import annotations

import dataclasses

import lake
from lake.potentials import next_version, publish_potential
from schemas.errors import QueryError
from schemas.potentials import MACE, PotentialCard


def add_external(opened: lake.Lake, name: str, reference: str, dataset: str) -> PotentialCard:
    """Measure a model of another program on all splits of a pinned dataset, store its file and register it as a candidate.

    reference is 'mace:FILE'. The registry cannot know what the other program was given: the card says that this was told, not seen.
    Raises QueryError for a reference of another kind.
    """
    from training.external import MODEL_FILE, open_external
    from training.session import measure

    if not reference.startswith(f"{MACE}:"):
        raise QueryError(f"{reference!r} is no model of another program; expected {MACE}:FILE")
    pinned = opened.dataset(dataset)
    potential = open_external(reference)
    content = potential.file.read_bytes()
    metrics, picture, notes = measure(potential, {split: pinned.arrays(split) for split in ("train", "validation", "test")})
    manifest = pinned.manifest
    told = f"Trained by {MACE}; that it was given the training frames of {dataset} alone was told, not seen."
    card = dataclasses.replace(
        potential.card,
        name=name,
        version=next_version(opened, name),
        dataset=manifest.name,
        dataset_hash=manifest.content_hash,
        table_versions=dict(manifest.table_versions),
        theories=manifest.theories,
        metrics=metrics,
        notes=(told, *notes),
    )
    potential.worker.close()
    return publish_potential(opened, card, {MODEL_FILE: content, "parity.png": picture})
