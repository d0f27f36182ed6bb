"""What is in the energies and forces of a VASP run beside its functional: fields, solvents, held occupations, penalties.

Another physical level that all configurations of a run share goes into the level of theory (`beyond`); a penalty, a scaled or foreign
potential that makes numbers of no functional is told by `altered`. Tags: https://www.vasp.at/wiki, pages of the tags named here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Final

from lake.readers.remembered import once
from lake.readers.vasp.tags import Tags

VDW_DF: Final[Mapping[str, str]] = {
    "revPBE": "vdW-DF", "optPBE": "optPBE-vdW", "optB88": "optB88-vdW", "optB86b": "optB86b-vdW", "rPW86": "vdW-DF2",
    "LV-PW86r": "vdW-DF-cx", "BEEF": "BEEF-vdW",
}  # fmt: skip
"""Names of nonlocal functionals by the GGA they stand on."""
_OTHERWISE: Final = {"EFIELD": 0.0, "SCALEE": 1.0, "I_CONSTRAINED_M": 0.0}
"""Tags that change energies, with what they are where they do not: a field, a scaled energy, penalties on magnetic moments."""
_SOLVENT: Final = {"EB_K": 80.0, "TAU": 0.000525, "LAMBDA_D_K": 0.0}
"""Tags of VASPsol, with the values of water without ions."""


_VDW_PARAMETERS: Final[Mapping[str, Mapping[str, float]]] = {
    "AGGAC": {"": 0.0},
    "ZAB_VDW": {"": -0.8491, "vdW-DF2": -1.8867},
    "PARAM1": {"optB88-vdW": 0.1833333, "optB86b-vdW": 0.1234},
    "PARAM2": {"optB88-vdW": 0.22, "optB86b-vdW": 1.0},
}
"""Tags that a van der Waals functional needs besides GGA (VASP wiki, 'Nonlocal vdW-DF functionals'); without them it is another one."""


def beyond(tags: Tags, functional: str) -> tuple[tuple[str, str], ...]:
    """Return what belongs to the level of theory behind its typed columns, as sorted pairs of name and value."""
    found: list[tuple[str, str]] = []
    if functional.endswith("hybrid") and tags.number("HFSCREEN", 0.0) != 0.0:
        found.append(("HFSCREEN", f"{tags.number('HFSCREEN', 0.0):g}"))
    others = {**_OTHERWISE, **(_SOLVENT if tags.true("LSOL") else {})}
    found += [(name, f"{value:g}") for name, usual in others.items() if (value := tags.number(name, usual)) != usual]
    lists = ("EFIELD_PEAD", "LDAUJ") if tags.true("LDAU") and tags.integer("LDAUTYPE", 2) != 2 else ("EFIELD_PEAD",)
    found += [(name, " ".join(f"{value:g}" for value in tags.numbers(name))) for name in lists if any(tags.numbers(name))]
    if tags.true("LSOL"):
        found.append(("implicit solvent", "VASPsol"))
    for name, usual in _VDW_PARAMETERS.items() if functional in VDW_DF.values() and functional != "BEEF-vdW" else ():
        value, right = tags.number(name, float("nan")), usual.get(functional, usual.get("", float("nan")))
        found += [(name, f"{value:g}")] if abs(value - right) > 1e-3 else []
    if tags.true("LMODELHF"):
        found.append(("LMODELHF", "on"))
    if tags.number("NUPDOWN", -1.0) >= 0.0:
        found.append(("NUPDOWN", f"{tags.number('NUPDOWN', -1.0):g}"))
    if tags.true("LDAU") and tags.integer("LDAUTYPE", 2) != 2:
        found.append(("LDAUTYPE", str(tags.integer("LDAUTYPE", 2))))
    return tuple(sorted([*found, *_moments_of_charge(tags), *_held(tags)]))


def _moments_of_charge(tags: Tags) -> list[tuple[str, str]]:
    """Return the corrections for charges and dipoles; IDIPOL and LMONO alone correct the energy, LDIPOL potential and forces too."""
    dipole, both, charge = tags.integer("IDIPOL", 0), tags.true("LDIPOL"), tags.true("LMONO")
    found = [("dipole correction", f"{dipole}" if both else f"{dipole}, of the energy alone")] if both or dipole > 0 else []
    if charge:
        found.append(("LMONO", "on"))
    if (found or charge) and (constant := tags.number("EPSILON", 1.0)) != 1.0:
        found.append(("EPSILON", f"{constant:g}"))
    return found


def _held(tags: Tags) -> list[tuple[str, str]]:
    """Return what keeps the electrons off their self-consistent ground state: a density, occupations, a core hole, a spiral."""
    found = []
    if tags.integer("ICHARG", 0) >= 10:
        found.append(("charge density", "kept"))
    if tags.integer("ISMEAR", 1) == -2:
        given = [f"{name} = {_counted(tags.numbers(name))}" for name in ("FERWE", "FERDO") if tags.numbers(name)]
        found.append(("occupations", ", ".join(["ISMEAR = -2", *given])))
    if tags.integer("ICORELEVEL", 0) >= 2:
        found.append(("core hole", ", ".join(f"{name} {value:g}" for name, value in _core_hole(tags))))
    if tags.true("LSPIRAL"):
        found.append(("spin spiral", " ".join(f"{value:g}" for value in tags.numbers("QSPIRAL"))))
    return found


def _core_hole(tags: Tags) -> list[tuple[str, float]]:
    """Return type, main and angular quantum numbers and electrons of a core hole; OUTCAR prints two of them on each line."""
    found = []
    for name, beside, usual in (("CLNT", "", 1.0), ("CLN", "CLNT", 1.0), ("CLL", "", 0.0), ("CLZ", "CLL", 1.0)):
        match = re.search(rf"\b{name}\s*=\s*([-+.\d]+)", tags.text(beside)) if beside else None
        found.append((name, Tags({name: match.group(1)}).number(name, usual) if match else tags.number(name, usual)))
    return found


def _counted(values: list[float]) -> str:
    """Return values as VASP reads them, equal ones that follow each other as '4*1'."""
    runs = [(value, len(list(same))) for value, same in itertools.groupby(values)]
    return " ".join(f"{times}*{value:g}" if times > 1 else f"{value:g}" for value, times in runs)


_PLUGINS: Final = tuple(f"PLUGINS/{name}" for name in ("FORCE_AND_STRESS", "LOCAL_POTENTIAL", "OCCUPANCIES", "MACHINE_LEARNING"))


@once
def altered(tags: Tags) -> tuple[str, ...]:
    """Return what is in the energies or forces of a run so that they are those of no functional, in words; nothing for most runs.

    The penalty of I_CONSTRAINED_M is part of the total energy and of the potential; its value is printed in OSZICAR alone.
    """
    found = []
    if penalty := tags.integer("I_CONSTRAINED_M", 0):
        strength = f", LAMBDA = {tags.number('LAMBDA', 0.0):g}" if tags.text("LAMBDA") else ""
        found.append(f"a penalty on the directions or sizes of magnetic moments (I_CONSTRAINED_M = {penalty}{strength})")
    if (scale := tags.number("SCALEE", 1.0)) != 1.0:
        found.append(f"scaled energies and forces (SCALEE = {scale:g})")
    if tags.integer("VCAIMAGES", -1) >= 0 and tags.text("VCAIMAGES"):
        found.append("a mixture of two systems (VCAIMAGES)")
    shifts = [*tags.numbers("LDAUU"), *tags.numbers("LDAUJ")]
    if tags.true("LDAU") and tags.integer("LDAUTYPE", 2) == 3 and any(shifts):
        found.append("potentials on the shells of atoms (LDAUTYPE = 3)")
    if tags.true("LCEP") or tags.text("TARGETMU"):
        found.append("a number of electrons that changes to hold the electrode potential (LCEP, TARGETMU)")
    found += [f"what a program of the user adds ({name})" for name in _PLUGINS if tags.true(name)]
    return tuple(found)


def _bias(tags: Tags) -> str:
    """Return the tags that put a bias on the moving atoms (metadynamics, umbrella sampling); '' for none."""
    if tags.integer("IBRION", -1) != 0:
        return ""
    if (algorithm := tags.integer("MDALGO", 0)) in (11, 21):
        return f"MDALGO = {algorithm}"
    return f"SPRING_K = {tags.text('SPRING_K')}" if tags.text("SPRING_K") else ""


def remarks_on(tags: Tags) -> tuple[str, ...]:
    """Return what is noted of a run for its tags: a kept density, what alters its energies, a bias on its atoms."""
    kept = tags.integer("ICHARG", 0)
    found = [f"the charge density was kept fixed (ICHARG = {kept}): the electrons are not self-consistent"] if kept >= 10 else []
    if added := altered(tags):
        found.append(f"in the energies or forces there is {'; '.join(added)}")
    if bias := _bias(tags):
        found.append(f"a bias acted on the moving atoms ({bias}); energies and forces are taken as printed before the move")
    return tuple(found)


def asks_response(tags: Tags) -> bool:
    """Return whether the tags ask for the response to an electric or magnetic field, or to displacements."""
    return any(tags.true(name) for name in ("LEPSILON", "LCALCEPS", "LCHIMAG")) or tags.integer("IBRION", -1) in (7, 8)


_POST_DFT: Final = (
    "GW", "G0W0", "EVGW", "QPGW", "SCGW", "BSE", "TDHF", "CHI", "ACFDT", "RPA", "CRPA", "2E4W", "TIMEEV", "MP2", "RMP2", "FULLMP2", "CC4S",
    "AFQMC",
)  # fmt: skip
"""Beginnings of ALGO for runs beyond the ground state of DFT."""


def post_dft(tags: Tags) -> str:
    """Return the ALGO of a run beyond the ground state of DFT, '' for others."""
    algorithm = tags.word("ALGO")
    return algorithm if algorithm.startswith(_POST_DFT) else ""
