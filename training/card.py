"""The card of a potential that was just trained."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

from schemas.potentials import Metrics, PotentialCard
from schemas.version import __version__
from training.job import FrameSplits, Job, PinnedDataset, fingerprint
from training.references import alignment_notes

if TYPE_CHECKING:
    from training.potentials.base import EnergyModel

_LIBRARIES = ("ase", "lightning", "numpy", "safetensors", "torch", "vesin")


def make_card(
    name: str, dataset: PinnedDataset | FrameSplits, job: Job, model: EnergyModel, *, metrics: Mapping[str, Metrics], seconds: float
) -> PotentialCard:
    """Return the card: version 1 and candidate until the lake says otherwise."""
    if isinstance(dataset, FrameSplits):
        pinned: tuple[str, str, Mapping[str, int], tuple[str, ...]] = (dataset.name, fingerprint(job), {}, dataset.theories)
    else:
        manifest = dataset.manifest
        pinned = (manifest.name, manifest.content_hash, manifest.table_versions, manifest.theories)
    return PotentialCard(
        name=name,
        version=1,
        architecture=job.settings.architecture,
        state="candidate",
        elements=job.elements,
        cutoff=job.settings.cutoff,
        dataset=pinned[0],
        dataset_hash=pinned[1],
        table_versions=dict(pinned[2]),
        theories=pinned[3],
        settings=job.settings.to_mapping(),
        metrics=metrics,
        references=dict(job.references),
        default_theory=next(iter(model.theories), ""),
        theory_references=dict(zip(model.theories, _by_element(model), strict=True)),
        notes=job.notes if isinstance(dataset, FrameSplits) else (*job.notes, *alignment_notes(dataset.manifest.alignment)),
        software={**software_versions(), **{library: installed(library) for library in model.libraries()}},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_seconds=round(seconds, 1),
        parent=job.settings.start_from,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _by_element(model: EnergyModel) -> list[dict[str, float]]:
    return [dict(zip(model.elements, row, strict=True)) for row in model.energies_of_theories()]


def software_versions() -> dict[str, str]:
    """Return the versions of what trains."""
    return {"atomlake": __version__, "python": platform.python_version(), **{name: installed(name) for name in _LIBRARIES}}
