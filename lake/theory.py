"""Whether numbers of two levels of theory may stand in one data set, and the readable keys of a level; why, is in `lake.theory_rules`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lake.theory_rules import ALIGNABLE, INCOMPATIBLE, KINDS, RULES, SAME, STANDARD_EXCHANGE
from schemas.theory import U_NOT_TOLD, LevelOfTheory


@dataclass(frozen=True)
class Verdict:
    """What two levels of theory are to each other, and why."""

    kind: str
    """One of KINDS."""
    reasons: tuple[str, ...]
    """One sentence for each difference that counts; empty for 'same'."""


@dataclass(frozen=True)
class Conflict:
    """Two levels of theory that cannot be put together as they are."""

    first: LevelOfTheory
    second: LevelOfTheory
    verdict: Verdict


def theory_key(level: LevelOfTheory) -> str:
    """Return the physics in words: 'PBE/plane waves/qe', 'PBE+D3(BJ)+U(Ni-d 6.2)/plane waves/vasp'.

    Pseudopotentials are not in it, since runs of one level hold different elements: `verdict` compares them for shared elements.
    """
    parts = [level.functional or "functional not known"]
    if level.dispersion:
        parts.append(level.dispersion)
    if level.hubbard_u:
        parts.append(f"U({', '.join(f'{element}-{shell} {value:g}' for element, shell, value in level.hubbard_u)})")
    if level.exact_exchange is not None and not _is_standard_exchange(level):
        parts.append(f"EXX({level.exact_exchange:g})")
    if level.spin == "spin-orbit" or level.relativity == "full":
        parts.append("SOC")
    elif level.spin == "noncollinear":
        parts.append("noncollinear")
    if level.charge:
        parts.append(f"charge({level.charge:+g})")
    parts += [f"{name}({value})" for name, value in level.extra]
    return "/".join(("+".join(parts), level.basis or "basis not known", level.code))


def numerics_key(level: LevelOfTheory) -> str:
    """Return cutoffs, k density and smearing in words: 'cut 476 eV, rho 3810 eV, dk 0.74, gaussian 0.14 eV'."""
    parts = []
    if level.cutoff is not None:
        parts.append(f"cut {level.cutoff:.0f} eV")
    if level.density_cutoff is not None:
        parts.append(f"rho {level.density_cutoff:.0f} eV")
    if level.kpoint_spacing is not None:
        parts.append(f"dk {level.kpoint_spacing:.2f}")
    elif level.kpoints is not None:
        parts.append(f"k {'x'.join(map(str, level.kpoints))}")
    elif level.n_kpoints is not None:
        parts.append(f"{level.n_kpoints} k points")
    if level.smearing == "none":
        parts.append("no smearing")
    elif level.smearing:
        parts.append(level.smearing + (f" {level.smearing_width:.2g} eV" if level.smearing_width is not None else ""))
    return ", ".join(parts) or "not known"


def verdict(a: LevelOfTheory, b: LevelOfTheory) -> Verdict:
    """Return what a and b are to each other; the order of a and b does not change the kind.

    Equal levels are the same but where they have a Hubbard U whose value is not told.
    """
    if a == b and U_NOT_TOLD not in a.extra:
        return Verdict(SAME, ())
    findings = [finding for rule in RULES if (finding := rule.judge(a, b)) is not None]
    kind = max((kind for kind, _ in findings), key=KINDS.index, default=SAME)
    return Verdict(kind, tuple(reason for _, reason in findings))


def conflicts(levels: Iterable[LevelOfTheory]) -> list[Conflict]:
    """Return the pairs among levels that are alignable or incompatible; empty where all can be put together.

    What can only ever be a remark (k points, smearing, density cutoff) is left aside, so the cost does not grow with the meshes met.
    """
    distinct = dict.fromkeys(_without_remarks(level) for level in levels)
    pairs = ((a, b, verdict(a, b)) for a, b in itertools.combinations(distinct, 2))
    return [Conflict(a, b, found) for a, b, found in pairs if found.kind in (ALIGNABLE, INCOMPATIBLE)]


def _without_remarks(level: LevelOfTheory) -> LevelOfTheory:
    return replace(level, kpoints=None, n_kpoints=None, kpoint_spacing=None, smearing="", smearing_width=None, density_cutoff=None)


def _is_standard_exchange(level: LevelOfTheory) -> bool:
    standard = STANDARD_EXCHANGE.get(level.functional)
    return standard is not None and abs(standard - (level.exact_exchange or 0.0)) < 1e-6
