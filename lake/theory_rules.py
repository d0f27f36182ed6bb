"""The rules by which two levels of theory are compared, each with its verdicts and its source; `lake.theory` asks them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from schemas.theory import U_NOT_TOLD, LevelOfTheory

SAME: Final = "same"
COMPATIBLE: Final = "compatible"
ALIGNABLE: Final = "alignable"
INCOMPATIBLE: Final = "incompatible"
KINDS: Final = (SAME, COMPATIBLE, ALIGNABLE, INCOMPATIBLE)
"""From the best to the worst; the worst that any rule says is the verdict."""

STANDARD_EXCHANGE: Final = {"PBE0": 0.25, "HSE06": 0.25, "HSE03": 0.25, "B3LYP": 0.2}
"""Fraction of exact exchange that the name of a hybrid stands for."""

LOCAL_ORBITALS: Final = ("GTO", "LCAO", "NAO")
"""Kinds of basis of which one set is not another: its name stands beside the pseudopotential of each element."""

Finding = tuple[str, str] | None
"""(kind, reason), or None where a rule has nothing to say."""


@dataclass(frozen=True)
class Rule:
    """One comparison of two levels."""

    name: str
    judge: Callable[[LevelOfTheory, LevelOfTheory], Finding]
    cases: tuple[tuple[str, str], ...]
    """(kind, when) for each verdict that it can give."""
    source: str
    """Why the rule is as it is: measurement, paper or manual."""


def _exchange(level: LevelOfTheory) -> float:
    if level.exact_exchange is not None:
        return level.exact_exchange
    return STANDARD_EXCHANGE.get(level.functional, 0.0)


def _elements(level: LevelOfTheory) -> set[str]:
    return {element for element, _ in level.pseudopotentials}


def _functional(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if a.functional == b.functional and a.functional:
        return None
    if not a.functional or not b.functional:
        return INCOMPATIBLE, "the functional of one of them is not known"
    return INCOMPATIBLE, f"functionals differ: {a.functional} and {b.functional}"


def _dispersion(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if a.dispersion == b.dispersion:
        return None
    short, long = sorted((a.dispersion, b.dispersion), key=len)
    if short and long.startswith(f"{short}("):
        return COMPATIBLE, f"one has the dispersion correction {long}, the other {short}, of which the damping is not told"
    return INCOMPATIBLE, f"dispersion corrections differ: {a.dispersion or 'none'} and {b.dispersion or 'none'}"


def _hubbard(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    untold = U_NOT_TOLD in a.extra, U_NOT_TOLD in b.extra
    if all(untold) and a.hubbard_u == b.hubbard_u:
        return COMPATIBLE, "both have a Hubbard U whose value is not told: whether it is the same is not known"
    if a.hubbard_u == b.hubbard_u and not any(untold):
        return None
    if any(untold):
        return INCOMPATIBLE, f"Hubbard U: {_u_words(a)} and {_u_words(b)}; whether they are the same is not known"
    first, second = set(a.hubbard_u), set(b.hubbard_u)
    differing = {element for element, _, _ in first ^ second}
    known = _elements(a) and _elements(b)
    if known and not differing & _elements(a) & _elements(b):
        return COMPATIBLE, f"Hubbard U on {', '.join(sorted(differing))}, which only one of them holds"
    return INCOMPATIBLE, f"Hubbard U differs: {_u_words(a)} and {_u_words(b)}"


def _u_words(level: LevelOfTheory) -> str:
    told = [f"{element}-{shell} {value:g} eV" for element, shell, value in level.hubbard_u]
    return ", ".join([*told, *(["one of a value that is not told"] if U_NOT_TOLD in level.extra else [])]) or "none"


def _exact_exchange(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if abs(_exchange(a) - _exchange(b)) < 1e-6:
        return None
    return INCOMPATIBLE, f"fractions of exact exchange differ: {_exchange(a):g} and {_exchange(b):g}"


def _spin(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if a.spin == b.spin:
        return None
    if {a.spin, b.spin} == {"none", "collinear"}:
        return COMPATIBLE, "one is spin-polarised, the other is not: equal where nothing is magnetic, not otherwise"
    return INCOMPATIBLE, f"spin treatments differ: {a.spin} and {b.spin}"


def _relativity(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if a.relativity == b.relativity or not a.relativity or not b.relativity:
        return None
    return INCOMPATIBLE, f"relativity differs: {a.relativity} and {b.relativity}"


def _charge(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if abs(a.charge - b.charge) < 1e-6:
        return None
    return INCOMPATIBLE, f"charges of the cell differ: {a.charge:+g} and {b.charge:+g} e"


def _extra(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    differing = sorted(f"{name}={value}" for name, value in (set(a.extra) ^ set(b.extra)) - {U_NOT_TOLD})
    if not differing:
        return None
    return INCOMPATIBLE, f"only one of them has {', '.join(differing)}"


def _basis(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if a.basis == b.basis or not a.basis or not b.basis:
        return None
    if "LAPW" in (a.basis, b.basis):
        return ALIGNABLE, f"all-electron ({a.basis}) and pseudopotential ({b.basis}) energies have another zero for each element"
    return INCOMPATIBLE, f"basis sets differ: {a.basis} and {b.basis}; their errors are no constants of the elements"


def _orbitals(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if a.basis != b.basis or a.basis not in LOCAL_ORBITALS:
        return None
    first, second = ({e: _core_and_orbitals(identity, a.basis)[1] for e, identity in each.pseudopotentials} for each in (a, b))
    differing = [e for e in sorted(first.keys() & second.keys()) if first[e] != second[e]]
    words = "; ".join(f"{e}: {first[e]} and {second[e]}" for e in differing if first[e] and second[e])
    if words:
        return INCOMPATIBLE, f"sets of local orbitals differ; their errors are no constants of the elements ({words})"
    return (COMPATIBLE, f"local orbitals of {', '.join(differing)} are not told for one of them") if differing else None


def _core_and_orbitals(identity: str, basis: str) -> tuple[str, str]:
    """Return the pseudopotential and the orbitals in the identity of an element, '' for what is not told.

    Both stand as 'potential / orbitals'; one alone is the orbitals of an all-electron code, or the potential of one with LCAO.
    """
    core, _, orbitals = identity.rpartition(" / ")
    return (orbitals, "") if not core and basis == "LCAO" else (core, orbitals)


def _pseudopotentials(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    first, second = dict(a.pseudopotentials), dict(b.pseudopotentials)
    if not first or not second:
        if not first and not second:
            return (COMPATIBLE, "pseudopotentials of both are not known") if "plane waves" in (a.basis, b.basis) else None
        return ALIGNABLE, "the pseudopotentials of one of them are not known, so its zero of energy is not"
    shared = sorted(first.keys() & second.keys())
    if a.basis == b.basis and a.basis in LOCAL_ORBITALS:
        first, second = ({e: _core_and_orbitals(identity, a.basis)[0] for e, identity in each.items()} for each in (first, second))
    differing = [e for e in shared if not _same_data_set(first[e], second[e])]
    if not differing:
        by_title = [e for e in shared if first[e] != second[e]]
        return (
            (COMPATIBLE, f"pseudopotentials of {', '.join(by_title)} are equal by title; the hash of one is not known")
            if by_title
            else None
        )
    words = "; ".join(f"{e}: {first[e]} and {second[e]}" for e in differing)
    return ALIGNABLE, f"pseudopotentials differ, so energies have another zero for each element ({words})"


def _same_data_set(first: str, second: str) -> bool:
    """Return whether two identities ('title' or 'title md5:hash') can be one data set; where no hash is printed, titles decide."""
    if first == second:
        return True
    (title, _, digest), (other_title, _, other_digest) = first.partition(" md5:"), second.partition(" md5:")
    return title == other_title and not (digest and other_digest)


def _code(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if a.code == b.code:
        return None
    first, second = dict(a.pseudopotentials), dict(b.pseudopotentials)
    shared = first.keys() & second.keys()
    if shared and all(_same_data_set(first[e], second[e]) for e in shared):
        return COMPATIBLE, f"codes differ ({a.code} and {b.code}) with the same pseudopotentials"
    return ALIGNABLE, f"codes differ ({a.code} and {b.code}) and with them pseudopotentials or zeros of energy"


def _cutoff(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    ratio = _ratio(a.cutoff, b.cutoff)
    if ratio is None:
        unknown = (a.cutoff is None) != (b.cutoff is None)
        return (COMPATIBLE, "the plane-wave cutoff of one of them is not known") if unknown else None
    if ratio < 1.02:
        return None
    words = f"cutoffs differ: {a.cutoff:.0f} and {b.cutoff:.0f} eV"
    if ratio <= 1.2:
        return COMPATIBLE, f"{words}; small shifts of energy and stress"
    return ALIGNABLE, f"{words}, over 20 % apart: energies shift by nearly a constant of each element, absolute stress by Pulay stress"


def _density_cutoff(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    ratio = _ratio(a.density_cutoff, b.density_cutoff)
    if ratio is None or ratio <= 1.2:
        return None
    return COMPATIBLE, f"density cutoffs differ: {a.density_cutoff:.0f} and {b.density_cutoff:.0f} eV"


def _kpoints(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    ratio = _ratio(a.kpoint_spacing, b.kpoint_spacing)
    if ratio is None or ratio < 1.1:
        return None
    words = f"k meshes differ: spacing {a.kpoint_spacing:.2f} and {b.kpoint_spacing:.2f} 1/Å"
    return COMPATIBLE, words + ("; the coarser one is more than twice as coarse, look whether it is converged" if ratio > 2 else "")


def _smearing(a: LevelOfTheory, b: LevelOfTheory) -> Finding:
    if not a.smearing or not b.smearing:
        return None
    if a.smearing != b.smearing:
        return COMPATIBLE, f"occupations differ: {a.smearing} and {b.smearing}; free energies of metals shift by a few meV/atom"
    ratio = _ratio(a.smearing_width, b.smearing_width)
    if ratio is None or ratio <= 1.5:
        return None
    return COMPATIBLE, f"smearing widths differ: {a.smearing_width:g} and {b.smearing_width:g} eV"


def _ratio(a: float | None, b: float | None) -> float | None:
    """Return the larger over the smaller, or None where one is missing or not positive."""
    if a is None or b is None or a <= 0 or b <= 0:
        return None
    return max(a, b) / min(a, b)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "functional",
        _functional,
        ((INCOMPATIBLE, "names differ, or one is not known"),),
        "Total energies of functionals differ by more than chemistry, and not by constants of the elements: atomisation energies alone by "
        "eV (Perdew, Burke, Ernzerhof, Phys. Rev. Lett. 77, 3865, 1996, table I).",
    ),
    Rule(
        "dispersion",
        _dispersion,
        (
            (COMPATIBLE, "the same method, the damping of one is not told"),
            (INCOMPATIBLE, "corrections differ, or only one has one"),
        ),
        "Pairwise corrections add forces that depend on geometry (Grimme et al., J. Chem. Phys. 132, 154104, 2010).",
    ),
    Rule(
        "Hubbard U",
        _hubbard,
        (
            (COMPATIBLE, "U differs on elements that only one of them holds; or both have a U whose value is not told"),
            (INCOMPATIBLE, "GGA against GGA+U, or another U, on an element that both hold or may hold; or the value of one is not told"),
        ),
        "U shifts energies by the occupation, eV per d atom (Dudarev et al., Phys. Rev. B 57, 1505, 1998; Jain et al., Phys. Rev. B 84, "
        "045115, 2011). The corrections with which the Materials Project mixes GGA and GGA+U (MP2020: Wang et al., Sci. Rep. 11, 15496, "
        "2021) are constants of element, anion and oxidation state fitted to formation enthalpies: right for phase diagrams, not for "
        "energies that go with forces.",
    ),
    Rule(
        "exact exchange",
        _exact_exchange,
        ((INCOMPATIBLE, "fractions differ"),),
        "Another fraction is another functional (Adamo and Barone, J. Chem. Phys. 110, 6158, 1999).",
    ),
    Rule(
        "spin",
        _spin,
        (
            (COMPATIBLE, "one is collinear, the other unpolarised"),
            (INCOMPATIBLE, "one is noncollinear or has spin-orbit coupling, the other not"),
        ),
        "A polarised run of a closed shell ends in the unpolarised state; spin-orbit coupling is another Hamiltonian.",
    ),
    Rule(
        "relativity",
        _relativity,
        ((INCOMPATIBLE, "both are known and differ"),),
        "Scalar and full relativity are different Hamiltonians (Koelling and Harmon, J. Phys. C 10, 3107, 1977).",
    ),
    Rule(
        "charge",
        _charge,
        ((INCOMPATIBLE, "charges of the cell differ"),),
        "A charged cell stands in a uniform background whose energy depends on the cell (Makov and Payne, PRB 51, 4014, 1995).",
    ),
    Rule(
        "extra",
        _extra,
        ((INCOMPATIBLE, "only one has an external field, a dipole correction or the like"),),
        "These change the Hamiltonian (Neugebauer and Scheffler, Phys. Rev. B 46, 16067, 1992).",
    ),
    Rule(
        "basis",
        _basis,
        (
            (ALIGNABLE, "all-electron LAPW against another basis"),
            (INCOMPATIBLE, "plane waves, local orbitals, Gaussians, grids against each other"),
        ),
        "Basis-set errors of local orbitals change with the neighbours (Boys and Bernardi, Mol. Phys. 19, 553, 1970); all-electron runs "
        "keep the same valence physics.",
    ),
    Rule(
        "local orbitals",
        _orbitals,
        (
            (COMPATIBLE, "not known for one"),
            (INCOMPATIBLE, "another set (Gaussians, numerical orbitals) for an element that both hold"),
        ),
        "What a small set lacks depends on the neighbours, whose orbitals an atom borrows (Boys and Bernardi, Mol. Phys. 19, 553, 1970): "
        "energies of bonds and forces change with the set, and no constant of an element makes up for it.",
    ),
    Rule(
        "pseudopotentials",
        _pseudopotentials,
        (
            (COMPATIBLE, "equal by title, a hash is missing; or those of both are not known"),
            (ALIGNABLE, "other data sets for an element that both hold (VASP: another POTCAR, 'Mg' against 'Mg_pv'), or not known for one"),
        ),
        "Energies count from the reference atom of each data set (Kresse and Joubert, Phys. Rev. B 59, 1758, 1999; VASP manual, POTCAR: "
        "total energies of different data sets do not compare). Energies of the same MgO cell by pseudopotential: -1980 to -8690 eV; "
        "forces agree to 0.7 % (own runs). Families of VASP (PAW_PBE, PAW_LDA, ultrasoft) belong to functionals, which are compared first.",
    ),
    Rule(
        "code",
        _code,
        (
            (COMPATIBLE, "other codes with the same pseudopotentials"),
            (ALIGNABLE, "other codes with others"),
        ),
        "PBE equations of state agree between codes to about 1 meV/atom (Lejaeghere et al., Science 351, aad3000, 2016).",
    ),
    Rule(
        "cutoff",
        _cutoff,
        (
            (COMPATIBLE, "2 to 20 % apart, or not known for one"),
            (ALIGNABLE, "more than 20 % apart"),
        ),
        "The error of a finite plane-wave set is nearly a constant of each atom at fixed cell and a stress (Francis and Payne, J. Phys. "
        "Condens. Matter 2, 4395, 1990). CaO from 35 to 60 Ry: -102 meV/atom, -5.1 GPa, both nearly constant, forces 0.018 eV/Å rms (own "
        "runs, data of the demo).",
    ),
    Rule(
        "density cutoff",
        _density_cutoff,
        ((COMPATIBLE, "more than 20 % apart"),),
        "Grid errors are small beside those of the wave functions' cutoff (Kresse and Furthmüller, Phys. Rev. B 54, 11169, 1996).",
    ),
    Rule(
        "k points",
        _kpoints,
        ((COMPATIBLE, "spacings more than 10 % apart"),),
        "A denser mesh is the same physics (Monkhorst and Pack, Phys. Rev. B 13, 5188, 1976), its error no constant: CaO from 2x2x2 to "
        "3x3x3: +30 meV/atom and 0.059 eV/Å rms, MgO -7 meV/atom (own runs): a remark.",
    ),
    Rule(
        "smearing",
        _smearing,
        ((COMPATIBLE, "other kinds, or widths more than 50 % apart"),),
        "Free energies carry the entropy of the smearing (Methfessel and Paxton, Phys. Rev. B 40, 3616, 1989).",
    ),
)
"""All rules, in the order in which their reasons are given."""


def rules() -> Iterator[tuple[str, str]]:
    """Yield the name and the source of each rule, for the documentation."""
    for rule in RULES:
        yield rule.name, rule.source
