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
    any_of: tuple[str, ...] = ()
    """Frames that hold at least one of these elements."""
    without: tuple[str, ...] = ()
    """Frames that hold none of these elements."""
    formula: str = ""
    """Formula in any order of elements, taken as reduced ('OMg', 'CuSO4·5H2O'), or an anonymous one ('ABC3')."""
    material: str = ""
    """Name of a material in any language: what depositors gave it to, or else the formulas that the shipped table has for it."""
    theory: str = ""
    """Key of the level of theory ('PBE/plane waves/qe'), or its beginning up to a '/' ('PBE')."""
    theories: tuple[str, ...] = ()
    """Several of these, any of which will do; a dataset holds more than one level only where it is asked to align their energies."""
    code: str = ""
    project: str = ""
    licence: str = ""
    """Licence as the depositor gave it."""
    natoms: tuple[int | None, int | None] | None = None
    """Least and most atoms, both included, as in all ranges; None leaves an end open."""
    energy_per_atom: tuple[float | None, float | None] | None = None
    """eV"""
    max_force: float | None = None
    """No force above this, eV/Å."""
    largest_force: tuple[float | None, float | None] | None = None
    """Norm of the largest force of the frame, eV/Å."""
    volume: tuple[float | None, float | None] | None = None
    """Of the cell, Å³."""
    volume_per_atom: tuple[float | None, float | None] | None = None
    """Å³"""
    density: tuple[float | None, float | None] | None = None
    """g/cm³"""
    pressure: tuple[float | None, float | None] | None = None
    """eV/Å³ (1 GPa is 0.00624)"""
    ingested: tuple[str | None, str | None] | None = None
    """First and last day (ISO 8601, UTC) on which the calculation came into the lake."""
    flags: tuple[str, ...] = ()
    """Frames that carry all of these flags (`schemas.flags`)."""
    without_flags: tuple[str, ...] = ()
    """Frames that carry none of these flags."""
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
    draw: str = ""
    """Any other text draws other frames for the limits of the query; sides stay as they are."""


@dataclass(frozen=True)
class EnergyOffset:
    """What is added to the energy of a frame for each atom of one element, as one kind of calculation has it."""

    element: str
    theories: tuple[str, ...]
    """Levels of theory of these calculations; several where they share one zero of energy."""
    settings: str
    """What tells their zero from others: the pseudopotential and cutoff most of them have."""
    offset: float
    """eV; 0 for the kind that the others are aligned to."""
    method: str
    """'reference' for the kind aligned to, else what fixed the offset, see `AlignmentStep`; 'minimum norm' where nothing did."""
    alone: bool
    """Fixed by itself; else only its sums with other offsets are, in the compositions that the data have."""
    n_frames: int


@dataclass(frozen=True)
class AlignmentStep:
    """One kind of evidence for the offsets, and what it leaves unexplained; a better kind is never overruled by a worse one."""

    method: str
    """'equal structures', 'equal compositions', 'element references'."""
    n_equations: int
    rank: int
    """Offsets, or sums of offsets, that it fixed."""
    rms: float
    """eV/atom, root mean square of what is left; NaN where there are only as many equations as offsets, so that nothing can be told."""
    largest: float
    """eV/atom"""


@dataclass(frozen=True)
class Alignment:
    """How energies of several levels of theory were brought to one zero for each element."""

    to: str
    """The level of theory whose zeros hold."""
    offsets: tuple[EnergyOffset, ...]
    steps: tuple[AlignmentStep, ...]
    notes: tuple[str, ...] = ()
    """What a user should know: offsets that no data fix, large residuals."""


@dataclass(frozen=True)
class DatasetManifest:
    """A pinned selection; immutable once published."""

    name: str
    query: FrameQuery
    split: Split
    table_versions: Mapping[str, int]
    """Delta version of each table that was read."""
    content_hash: str
    """SHA-256 over the frames' ids, labels and split, in order, and over the alignment where there is one."""
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
    alignment: Alignment | None = None
    """None where the energies are as the tables have them."""
    mixed: bool = False
    """Levels of theory stand beside each other with energies of their own; a potential learns them with references for each."""
    projects: Mapping[str, int] = field(default_factory=dict)
    """Frames by project of the first deposit, '' for none; empty in manifests from before these were kept."""
    licences: Mapping[str, int] = field(default_factory=dict)
    """Frames by licence as that deposit gave it, '' for none; likewise."""
