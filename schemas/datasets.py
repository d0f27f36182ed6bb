"""What a selection is: the query, and the manifest that pins its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FrameQuery:
    """Which frames of the lake; every field narrows, an empty one does not. Turns into JSON and back without loss."""

    elements: tuple[str, ...] = ()
    """Frames with exactly these elements; with subsystems=True also any subset of them."""
    subsystems: bool = False
    systems: tuple[str, ...] = ()
    """Element systems by name ('Mg-O'), taken instead of elements."""
    containing: tuple[str, ...] = ()
    """Frames that hold at least these elements."""
    formula: str = ""
    """Reduced formula in any order of elements."""
    theory: str = ""
    """Key of the level of theory ('PBE/plane waves/qe'), or its beginning up to a '/' ('PBE')."""
    code: str = ""
    project: str = ""
    natoms: tuple[int, int] | None = None
    """Least and most atoms, both included."""
    energy_per_atom: tuple[float, float] | None = None
    """eV"""
    max_force: float | None = None
    """No force above this, eV/Å."""
    only_good: bool = True
    """Leave out frames with a disqualifying flag (`schemas.flags.DISQUALIFYING`)."""
    with_forces: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    """At most so many training and validation frames of an element system ({'Ca-Mg-O': 10}); whole calculations, in the stable
    order of their hash, the last one cut to the limit. Test frames are not limited."""


@dataclass(frozen=True)
class Split:
    """How calculations fall into train, validation and test: by a hash of the calculation, so that none ever moves."""

    test: float = 0.1
    """Share of calculations whose hash falls below this."""
    validation: float = 0.1
    """Share of the calculations next to them."""
    salt: str = "atomlake"


@dataclass(frozen=True)
class DatasetManifest:
    """A pinned selection; immutable once published."""

    name: str
    query: FrameQuery
    split: Split
    table_versions: Mapping[str, int]
    """Delta version of each table that was read."""
    content_hash: str
    """SHA-256 over the frames' ids, labels and split, in order."""
    theories: tuple[str, ...]
    n_frames: Mapping[str, int]
    """Frames by split: {'train': .., 'validation': .., 'test': ..}."""
    n_calculations: Mapping[str, int]
    n_atoms: Mapping[str, int]
    element_systems: Mapping[str, Mapping[str, int]]
    """Frames by element system and split."""
    elements: tuple[str, ...]
    created_at: str
    """ISO 8601, UTC."""
    atomlake_version: str
    format: int = 1
