"""Versions of the readers: raised by hand when a reader gives other numbers or words for the same output, never for mere speed.

`atomlake reread --outdated` reads again what an earlier version has read, and nothing else. Readers of one code have one version, since
the outputs of a run fill what the others leave open.
"""

from __future__ import annotations

from functools import cache
from typing import Final

SHARED: Final = 2
"""What comes after every reader: grouping of outputs, checks and flags, keys of theory, formulas, identities."""
VERSIONS: Final = {
    "abacus": 4,
    "abinit": 5,
    "ase": 3,
    "castep": 4,
    "cp2k": 4,
    "deepmd": 1,
    "elk": 5,
    "extxyz": 2,
    "fhi-aims": 6,
    "gaussian": 6,
    "gpaw": 3,
    "nwchem": 5,
    "openmx": 5,
    "orca": 5,
    "qe": 8,
    "runner": 1,
    "siesta": 4,
    "vasp": 6,
}
"""`ReaderSpec.code` -> version; 1 is what atomlake read before its readers had versions."""


def reader_version(name: str) -> str:
    """Return the version that a row has whose labels the named reader gave: 'SHARED.OWN', such as '1.3'."""
    return ".".join(map(str, _present(name)))


def is_outdated(name: str, version: str) -> bool:
    """Return whether a row that the named reader gave at a version would be read otherwise now.

    A version of atomlake itself, three numbers, stands in rows from before the readers had versions, which is 1.1.
    """
    parts = version.split(".")
    shared, own = (1, 1) if len(parts) != 2 or not all(part.isdecimal() for part in parts) else map(int, parts)
    present = _present(name)
    return shared < present[0] or own < present[1]


def _present(name: str) -> tuple[int, int]:
    return SHARED, VERSIONS.get(_codes().get(name, ""), 1)


@cache
def _codes() -> dict[str, str]:
    # Queries need no reader: who only imports this module does not load them all.
    from lake.readers import READERS

    return {spec.name: spec.code for spec in READERS}
