"""The columns of every table, each declared once; Arrow schemas, documentation and checks are read from here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 2
"""Written into the metadata of each table; grows with each change that old readers would notice."""

_TEXT = pa.string()
_NAMES = pa.list_(pa.string())
_FLOATS = pa.list_(pa.float64())
_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type, meaning, unit, and the shape of its flat (row-major) list where it has one."""

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    shape: tuple[int | str, ...] = ()
    nullable: bool = True


@dataclass(frozen=True)
class TableSpec:
    """One table of the lake."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()

    def arrow_schema(self) -> pa.Schema:
        """Return the Arrow schema; unit, shape and meaning are in the metadata of each field."""
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field(
                    column.name,
                    column.type,
                    nullable=column.nullable,
                    metadata={"doc": column.doc, "unit": column.unit, "shape": ",".join(map(str, column.shape))},
                )
                for column in self.columns
            ]
        )

    def names(self) -> tuple[str, ...]:
        """Return the names of the columns in order."""
        return tuple(column.name for column in self.columns)


FRAMES: Final = TableSpec(
    "frames",
    "One configuration with its labels.",
    (
        Column("element_system", _TEXT, "Sorted symbols joined by '-'.", nullable=False),
        Column("frame_id", _TEXT, "calculation_id:step.", nullable=False),
        Column("calculation_id", _TEXT, "The calculation it belongs to.", nullable=False),
        Column("step", pa.int32(), "Ionic step within the run, from 0.", nullable=False),
        Column(
            "configuration_hash",
            _TEXT,
            "Name of the structure alone: free of atom order, lattice translations and origin; told apart are cells from 0.001 Å on, and "
            "atoms from about 0.002 Å on (see lake.identity).",
            nullable=False,
        ),
        Column("formula", _TEXT, "Hill formula of the cell: 'Ca2Mg2O4'.", nullable=False),
        Column("reduced_formula", _TEXT, "Formula divided by its greatest common divisor: 'CaMgO2'.", nullable=False),
        Column("natoms", pa.int32(), "Number of atoms.", nullable=False),
        Column("numbers", pa.list_(pa.int16()), "Atomic numbers.", shape=("natoms",), nullable=False),
        Column("positions", _FLOATS, "Cartesian positions.", "Å", ("natoms", 3), nullable=False),
        Column("cell", _FLOATS, "Lattice vectors as rows; zeros for none.", "Å", (3, 3), nullable=False),
        Column("pbc", pa.list_(pa.bool_()), "Periodic along each lattice vector.", shape=(3,), nullable=False),
        Column("energy", pa.float64(), "Force-consistent (free) energy.", "eV"),
        Column("energy_per_atom", pa.float64(), "energy / natoms.", "eV"),
        Column("energy_sigma0", pa.float64(), "Energy extrapolated to zero smearing.", "eV"),
        Column("energy_internal", pa.float64(), "Internal energy E of F = E - TS.", "eV"),
        Column("energy_source", _TEXT, "The printed quantity that energy is."),
        Column("forces", _FLOATS, "Unconstrained forces; null where there are none.", "eV/Å", ("natoms", 3)),
        Column("stress", _FLOATS, "Stress, tension positive; null where there is none.", "eV/Å³", (3, 3)),
        Column("stress_source", _TEXT, "The printed quantity that stress is."),
        Column("fixed", pa.list_(pa.bool_()), "Coordinates held fixed in the run; null for none.", shape=("natoms", 3)),
        Column("max_force", pa.float64(), "Largest norm of a force.", "eV/Å"),
        Column("net_force", pa.float64(), "Norm of the sum of forces.", "eV/Å"),
        Column("pressure", pa.float64(), "-trace(stress)/3.", "eV/Å³"),
        Column("volume", pa.float64(), "Volume of the cell; null for none.", "Å³"),
        Column("density", pa.float64(), "Mass density; null without a cell.", "g/cm³"),
        Column("min_distance", pa.float64(), "Smallest distance of two atoms, images included, up to 3 Å; null if none is nearer.", "Å"),
        Column("scf_converged", pa.bool_(), "Judged from step counts and accuracies; null where the output does not tell."),
        Column("n_scf_steps", pa.int32(), "Self-consistency steps; null where the output does not tell."),
        Column("flags", _NAMES, "Remarks, names out of schemas.flags.", nullable=False),
        Column("good", pa.bool_(), "No disqualifying flag.", nullable=False),
        Column("theory", _TEXT, "Key of the level of theory.", nullable=False),
        Column("numerics", _TEXT, "Key of the numerics (cutoffs, k points, smearing).", nullable=False),
        Column("code", _TEXT, "Code that made it.", nullable=False),
        Column("project", _TEXT, "Project of the depositor; '' for none.", nullable=False),
        Column("licence", _TEXT, "Licence given by the depositor; '' for none.", nullable=False),
    ),
    ("element_system",),
)

CALCULATIONS: Final = TableSpec(
    "calculations",
    "One run of a code. Where it came from stands in sources.calculation_ids, so that copies have many origins.",
    (
        Column("calculation_id", _TEXT, "SHA-256 of what the output says.", nullable=False),
        Column("element_system", _TEXT, "Sorted symbols joined by '-'.", nullable=False),
        Column("formula", _TEXT, "Hill formula of the cell.", nullable=False),
        Column("reduced_formula", _TEXT, "Formula divided by its greatest common divisor.", nullable=False),
        Column("natoms", pa.int32(), "Number of atoms.", nullable=False),
        Column("code", _TEXT, "Code: 'qe', 'vasp'.", nullable=False),
        Column("code_version", _TEXT, "Version as printed.", nullable=False),
        Column("kind", _TEXT, "static, relax, vc-relax, md, ...", nullable=False),
        Column("format", _TEXT, "Reader that the labels come from.", nullable=False),
        Column("files", _NAMES, "Members read, first the one the labels come from.", nullable=False),
        Column("n_frames", pa.int32(), "Steps with an energy.", nullable=False),
        Column("n_good", pa.int32(), "Frames without a disqualifying flag.", nullable=False),
        Column("n_malformed_steps", pa.int32(), "Steps seen but not readable.", nullable=False),
        Column("complete", pa.bool_(), "The output has its regular end.", nullable=False),
        Column("flags", _NAMES, "Remarks on the run as a whole.", nullable=False),
        Column("notes", _NAMES, "Warnings in words.", nullable=False),
        Column("theory", _TEXT, "Key of the level of theory.", nullable=False),
        Column("numerics", _TEXT, "Key of the numerics.", nullable=False),
        Column("functional", _TEXT, "Exchange-correlation functional.", nullable=False),
        Column("dispersion", _TEXT, "Dispersion correction; '' for none.", nullable=False),
        Column("hubbard_u", _NAMES, "'Ni-d:6.2' (eV), sorted.", nullable=False),
        Column("exact_exchange", pa.float64(), "Fraction of exact exchange; null for none."),
        Column("basis", _TEXT, "plane waves, LCAO, ...", nullable=False),
        Column("cutoff", pa.float64(), "Cutoff of the wave functions.", "eV"),
        Column("density_cutoff", pa.float64(), "Cutoff of the density.", "eV"),
        Column("pseudopotentials", _NAMES, "'Mg:title', sorted by element.", nullable=False),
        Column("kpoints", pa.list_(pa.int32()), "Mesh, where known.", shape=(3,)),
        Column("n_kpoints", pa.int32(), "Number of k points used."),
        Column("kpoint_spacing", pa.float64(), "Largest spacing of the mesh, with the factor 2π.", "1/Å"),
        Column("smearing", _TEXT, "Kind of smearing.", nullable=False),
        Column("smearing_width", pa.float64(), "Width of the smearing.", "eV"),
        Column("spin", _TEXT, "none, collinear, noncollinear, spin-orbit.", nullable=False),
        Column("charge", pa.float64(), "Charge of the cell.", "e", nullable=False),
        Column("relativity", _TEXT, "scalar, full, or ''.", nullable=False),
        Column("theory_extra", _NAMES, "'name=value' of anything else that changes the physics.", nullable=False),
        Column("project", _TEXT, "Project of the depositor.", nullable=False),
        Column("owner", _TEXT, "Owner named by the depositor.", nullable=False),
        Column("licence", _TEXT, "Licence given by the depositor.", nullable=False),
        Column("materials", _NAMES, "Names of the material given by the depositor, any language.", nullable=False),
        Column(
            "reader_version",
            _TEXT,
            "Version of its reader, '1.1' (`lake.reader_versions`); of atomlake in rows from before.",
            nullable=False,
        ),
        Column("batch_id", _TEXT, "Batch that committed it.", nullable=False),
        Column("ingested_at", _TIME, "When it was committed; if it was read again, when it first was.", nullable=False),
        Column(
            "formerly", _NAMES, "Ids under which it first came, before a newer reader found other numbers; its side in splits goes by them."
        ),
    ),
)

SOURCES: Final = TableSpec(
    "sources",
    "One object (or folder of loose files) seen in the inbox, once for each attempt to read it.",
    (
        Column("source_id", _TEXT, "SHA-256 of bucket, key and etag.", nullable=False),
        Column("bucket", _TEXT, "Inbox bucket.", nullable=False),
        Column("key", _TEXT, "Object key; ends in '/' for a folder of loose files.", nullable=False),
        Column("etag", _TEXT, "ETag of the object; a hash over its parts for a folder.", nullable=False),
        Column("version_id", _TEXT, "Version of the object, where the bucket keeps versions.", nullable=False),
        Column("size", pa.int64(), "Bytes.", nullable=False),
        Column("last_modified", _TIME, "When it was put.", nullable=False),
        Column(
            "state",
            _TEXT,
            "taken, partly_taken, rejected, duplicate (all of it was there already), needs_units (a file waits for an answer).",
            nullable=False,
        ),
        Column("attempt", pa.int32(), "1, 2, ...", nullable=False),
        Column("n_calculations", pa.int32(), "Calculations found in it.", nullable=False),
        Column("n_frames", pa.int32(), "Frames found in it.", nullable=False),
        Column("n_rejections", pa.int32(), "Members that could not be taken.", nullable=False),
        Column("calculation_ids", _NAMES, "The calculations found in it.", nullable=False),
        Column("members", _NAMES, "Where in it each of them stands, in the same order.", nullable=False),
        Column("project", _TEXT, "Project of the depositor.", nullable=False),
        Column("bytes_read", pa.int64(), "Bytes after decompression.", nullable=False),
        Column("seconds", pa.float64(), "Time to read it.", "s", nullable=False),
        Column("reader_version", _TEXT, "Version of atomlake that read it.", nullable=False),
        Column("batch_id", _TEXT, "Batch that committed it.", nullable=False),
        Column("ingested_at", _TIME, "When it was committed.", nullable=False),
    ),
)

REJECTIONS: Final = TableSpec(
    "rejections",
    "One member or source that could not be taken.",
    (
        Column("rejection_id", _TEXT, "SHA-256 of source, attempt, member and reason.", nullable=False),
        Column("source_id", _TEXT, "The source.", nullable=False),
        Column("bucket", _TEXT, "Inbox bucket.", nullable=False),
        Column("key", _TEXT, "Object key.", nullable=False),
        Column("member", _TEXT, "Member inside it; '' for the whole.", nullable=False),
        Column("reason", _TEXT, "Reason code, out of schemas.sources.REASONS.", nullable=False),
        Column("detail", _TEXT, "What was found.", nullable=False),
        Column("remedy", _TEXT, "What to do.", nullable=False),
        Column("attempt", pa.int32(), "Attempt at which it was rejected.", nullable=False),
        Column("batch_id", _TEXT, "Batch that committed it.", nullable=False),
        Column("rejected_at", _TIME, "When it was committed.", nullable=False),
    ),
)

POTENTIALS: Final = TableSpec(
    "potentials",
    "One state of one trained potential; the newest row of a name and version holds.",
    (
        Column("name", _TEXT, "Name of the potential.", nullable=False),
        Column("version", pa.int32(), "1, 2, ... under one name.", nullable=False),
        Column("state", _TEXT, "candidate, champion, retired.", nullable=False),
        Column("architecture", _TEXT, "hdnnp, ...", nullable=False),
        Column("elements", _NAMES, "Elements it knows.", nullable=False),
        Column("dataset", _TEXT, "Dataset it was trained on.", nullable=False),
        Column("dataset_hash", _TEXT, "Content hash of that dataset.", nullable=False),
        Column("theories", _NAMES, "Levels of theory of that dataset.", nullable=False),
        Column("test_energy_mae", pa.float64(), "Mean absolute error of energies on the test split.", "eV/atom"),
        Column("test_force_mae", pa.float64(), "Mean absolute error of force components on the test split.", "eV/Å"),
        Column("path", _TEXT, "Folder of its files in the lake.", nullable=False),
        Column("card", _TEXT, "The card as JSON.", nullable=False),
        Column("why", _TEXT, "Why it came into this state.", nullable=False),
        Column("recorded_at", _TIME, "When this row was written.", nullable=False),
    ),
)

TABLES: Final[tuple[TableSpec, ...]] = (FRAMES, CALCULATIONS, SOURCES, REJECTIONS, POTENTIALS)
