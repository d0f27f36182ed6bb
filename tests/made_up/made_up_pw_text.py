"""Parts of the stdout of pw.x in the layout that it prints, and real outputs kept beside the tests."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from lake.readers.qe.text import PwTextReader
from schemas.calculations import Run

DATA = Path(__file__).resolve().parents[1] / "data" / "qe"
ALAT = 10.0


def real(name: str) -> bytes:
    """Return a real output kept beside the tests."""
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def read(text: bytes, size: int = 1 << 20) -> tuple[Run, ...]:
    """Return the runs of an output that comes in chunks of a size."""
    reader = PwTextReader()
    for start in range(0, len(text), size):
        reader.feed(text[start : start + size])
    return reader.close()


def header(*, labels: tuple[str, ...] = ("Mg", "O"), xc: str = "PBE ( 1  4  3  4 0 0)", more: str = "", version: str = "6.7MaX") -> str:
    """Return what stands above the first step; more are further lines."""
    species = dict.fromkeys(labels)
    pseudos = "".join(
        f"     PseudoPot. # {n} for {re.sub('[^A-Za-z]', '', s):2s} read from file:\n     ./{s}.UPF\n     MD5 check sum: {n:032x}\n\n"
        for n, s in enumerate(species, 1)
    )
    table = "".join(f"        {s:6s}         2.00    24.30500     {re.sub('[^A-Za-z]', '', s):2s}( 1.00)\n" for s in species)
    sites = "".join(
        f"      {n:4d}        {' ' * 3}{s:3s} tau({n:4d}) = ({0.1 * n:12.7f}{0.2:12.7f}{0.3:12.7f}  )\n" for n, s in enumerate(labels, 1)
    )
    return f"""
     Program PWSCF v.{version} starts on 22Nov2026 at  5:13: 1

     This program is part of the open-source Quantum ESPRESSO suite

     lattice parameter (alat)  =      10.0000  a.u.
     number of atoms/cell      = {len(labels):12d}
     number of atomic types    = {len(species):12d}
     number of electrons       = {2 * len(labels):12.2f}
     kinetic-energy cutoff     =      35.0000  Ry
     charge density cutoff     =     280.0000  Ry
     scf convergence threshold =      1.0E-08
     Exchange-correlation      = {xc}
{more}
     celldm(1)=  10.000000  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )

{pseudos}
     atomic species   valence    mass     pseudopotential
{table}
   Cartesian axes

     site n.     atom                  positions (alat units)
{sites}
     number of k points=     1
                       cart. coord. in units 2pi/alat
        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   2.0000000

     Self-consistent Calculation
"""


def scf(energy: float, *, accuracy: str = "1.0E-09", mark: str = "! ", said: str = "has been achieved in   7 iterations") -> str:
    """Return the end of a cycle with its energy in Ry."""
    return f"""
     End of self-consistent calculation

{mark}   total energy              = {energy:16.8f} Ry
     estimated scf accuracy    <  {accuracy:>15s} Ry

     convergence {said}
"""


def forces(*rows: tuple[float, float, float], scale: float = 1.0) -> str:
    """Return the rows of a table of forces."""
    table = "".join(
        f"     atom {n:4d} type  1   force = {''.join(f'{scale * value:14.8f}' for value in row)}\n" for n, row in enumerate(rows, 1)
    )
    return table


def total_forces(*rows: tuple[float, float, float]) -> str:
    """Return the table of forces in Ry/bohr, with that of a contribution behind it."""
    return (
        "\n     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
        + forces(*rows)
        + "     The non-local contrib.  to forces\n"
        + forces(*rows, scale=7.0)
        + "\n     Total force =     0.057069     Total SCF correction =     0.000006\n"
    )


END = "\n     init_run     :      0.02s CPU\n\n=------=\n   JOB DONE.\n=------=\n"
PAIR = ((0.1, 0.2, 0.3), (-0.1, -0.2, -0.3))
