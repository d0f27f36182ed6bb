"""The level of theory in a data-file-schema.xml of pw.x (schema qes 1.0, Hartree atomic units)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.qe.level import (
    EXTERNAL_FORCES,
    HELD_MOMENTS,
    NO_TORQUE,
    berry_field,
    functional_name,
    hubbard_shell,
    mesh_spacing,
    sawtooth,
    smearing_name,
    two_fermi_levels,
    unique_pseudopotentials,
)
from lake.readers.qe.text_header import letters
from lake.readers.rows import number
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE

Floats = NDArray[np.float64]

_DISPERSION: Final = {
    "grimme-d2": "D2", "dft-d": "D2", "grimme-d3": "D3", "dft-d3": "D3", "ts": "TS", "ts-vdw": "TS", "tkatchenko-scheffler": "TS",
    "mbd": "MBD", "mbd_vdw": "MBD", "many-body-dispersion": "MBD", "xdm": "XDM",
}  # fmt: skip
_D3_VERSIONS: Final = {"2": "D2", "3": "D3(0)", "4": "D3(BJ)", "5": "D3M(0)", "6": "D3M(BJ)"}


@dataclass
class Node:
    """An element of which the content is kept."""

    tag: str
    attributes: dict[str, str]
    text: list[str] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    def all(self, *path: str) -> Iterator[Node]:
        """Yield the elements at a path below this one."""
        if not path:
            yield self
            return
        for child in self.children:
            if child.tag == path[0]:
                yield from child.all(*path[1:])

    def words(self, *path: str) -> str:
        """Return the text of the first element at a path, or an empty string."""
        found = next(self.all(*path), None)
        return "".join(found.text).strip() if found else ""

    def value(self, *path: str) -> float:
        """Return the number at a path, or NaN."""
        return number(self.words(*path).encode())

    def attribute(self, name: str, *path: str) -> str:
        """Return an attribute of the first element at a path, or an empty string."""
        found = next(self.all(*path), None)
        return found.attributes.get(name, "") if found else ""


def species_elements(root: Node) -> dict[str, str]:
    """Return the element of each label, from the label's letters and, where these allow two, the pseudopotential's name."""
    elements = {}
    for entry in root.all("atomic_species", "species"):
        label = entry.attributes.get("name", "")
        file = letters(entry.words("pseudo_file").rsplit("/", 1)[-1])
        own = letters(label)
        elements[label] = file if file and (not own or own.startswith(file) or file == label[:1].upper()) else own
    return elements


def read_level(inputs: Node, output: Node | None, cell: Floats) -> LevelOfTheory:
    """Return the level of theory that the input section states, with what only the output section knows (number of k points)."""
    elements = species_elements(inputs)
    mesh = _mesh(inputs, output)
    smearing, width = _smearing(inputs)
    exact = inputs.value("dft", "hybrid", "exx_fraction")
    pairs = [(elements[entry.attributes.get("name", "")], entry.words("pseudo_file")) for entry in inputs.all("atomic_species", "species")]
    charge = inputs.value("bands", "tot_charge")
    points = output.value("band_structure", "nks") if output else float("nan")
    return LevelOfTheory(
        code="qe",
        functional=functional_name(
            inputs.words("dft", "functional").replace("-", " ") if _plain(inputs) else inputs.words("dft", "functional")
        ),
        dispersion=_dispersion(inputs),
        hubbard_u=_hubbard(inputs, elements),
        exact_exchange=exact if exact > 0 else None,
        basis="plane waves",
        cutoff=_energy(inputs.value("basis", "ecutwfc")),
        density_cutoff=_energy(inputs.value("basis", "ecutrho")),
        pseudopotentials=unique_pseudopotentials(pairs),
        kpoints=mesh,
        n_kpoints=int(points) if 0 < points < 1e9 else None,
        kpoint_spacing=mesh_spacing(mesh, cell),
        smearing=smearing,
        smearing_width=width,
        spin=_spin(inputs),
        charge=charge + 0.0 if np.isfinite(charge) else 0.0,
        extra=_extra(inputs),
    )


def _plain(inputs: Node) -> bool:
    """Return whether the functional is spelt as its four parts ('SLA-PW-PBX-PBC')."""
    return inputs.words("dft", "functional").count("-") == 3


def _dispersion(inputs: Node) -> str:
    words = inputs.words("dft", "vdW", "vdw_corr").lower()
    name = _DISPERSION.get(words, "" if words in {"", "none"} else words)
    version = inputs.words("dft", "vdW", "dftd3_version")
    return _D3_VERSIONS.get(version, name) if name == "D3" else name


def _hubbard(inputs: Node, elements: dict[str, str]) -> tuple[tuple[str, str, float], ...]:
    values: dict[tuple[str, str], float] = {}
    for node in inputs.all("dft", "dftU", "Hubbard_U"):
        label = node.attributes.get("specie", "")
        value = number("".join(node.text).encode())
        if np.isfinite(value) and value != 0.0:
            shell = hubbard_shell(node.attributes.get("label", ""))
            values[elements.get(label) or letters(label), shell] = round(value * HARTREE, 4)
    return tuple(sorted((element, shell, value) for (element, shell), value in values.items()))


def _mesh(inputs: Node, output: Node | None) -> tuple[int, int, int] | None:
    places: list[tuple[Node, tuple[str, ...]]] = [(inputs, ("k_points_IBZ",))]
    if output is not None:
        places.append((output, ("band_structure", "starting_k_points")))
    for node, path in places:
        mesh = [node.attribute(name, *path, "monkhorst_pack") for name in ("nk1", "nk2", "nk3")]
        if all(part.strip().isdigit() and int(part) > 0 for part in mesh):
            return int(mesh[0]), int(mesh[1]), int(mesh[2])
    points = list(inputs.all("k_points_IBZ", "k_point"))
    gamma = len(points) == 1 and all(number(word.encode()) == 0.0 for word in "".join(points[0].text).split())
    return (1, 1, 1) if gamma or inputs.words("basis", "gamma_only") == "true" else None


def _smearing(inputs: Node) -> tuple[str, float | None]:
    occupations = inputs.words("bands", "occupations")
    if occupations.startswith("tetrahedra"):
        return "tetrahedra", None
    words = inputs.words("bands", "smearing")
    if occupations != "smearing" or not words:
        return "none", None
    return smearing_name(words), _energy(number(inputs.attribute("degauss", "bands", "smearing").encode()))


def _spin(inputs: Node) -> str:
    if inputs.words("spin", "spinorbit") == "true":
        return "spin-orbit"
    if inputs.words("spin", "noncolin") == "true":
        return "noncollinear"
    return "collinear" if inputs.words("spin", "lsda") == "true" else "none"


_USUAL_SCREENING: Final = 0.106
"""1/bohr, of HSE06; makov-payne corrects a number that is printed beside the energy, not the energy."""


def _extra(inputs: Node) -> tuple[tuple[str, str], ...]:
    found = []
    isolated = inputs.words("boundary_conditions", "assume_isolated").lower()
    if isolated not in {"", "none", "makov-payne", "m-p", "mp"}:
        bc = inputs.words("boundary_conditions", "esm", "bc")
        if not (isolated == "esm" and bc == "pbc"):
            found.append(("isolated", f"esm {bc}" if isolated == "esm" else "martyna-tuckerman" if isolated.startswith("m") else isolated))
    screening = number(inputs.words("dft", "hybrid", "screening_parameter").encode())
    if np.isfinite(screening) and abs(screening - _USUAL_SCREENING) > 5e-3 and screening != 0.0:
        found.append(("screening", f"{screening:g}"))
    found += _field(inputs)
    if inputs.words("electric_field", "gate_settings", "use_gate") == "true":
        found.append(("gate", "charged plate"))
    if inputs.words("twoch_", "twochem") == "true":
        found.append(two_fermi_levels(inputs.value("twoch_", "nelec_cond")))
    if any(inputs.all("rism_settings")):
        found.append(("solvent", "rism"))
    if any(inputs.all("fcp_settings")):
        found.append(("electrons", "fictitious charge particle"))
    if inputs.words("spin_constraints", "spin_constraints").lower() not in {"", "none"}:
        found.append(HELD_MOMENTS)
    if any(number(word.encode()) != 0.0 for word in inputs.words("external_atomic_forces").split()):
        found.append(EXTERNAL_FORCES)
    if inputs.words("ion_control", "remove_rigid_rot") == "true":
        found.append(NO_TORQUE)
    return tuple(sorted(found))


def _field(inputs: Node) -> list[tuple[str, str]]:
    """Return the electric field; the potential 'Berry_Phase' is a polarisation that is computed without one (lberry)."""
    potential = inputs.words("electric_field", "electric_potential").lower()
    amplitude = inputs.value("electric_field", "electric_field_amplitude")
    if potential == "sawtooth_potential":
        return [sawtooth(amplitude)]
    if potential != "homogenous_field":
        return [("electric_field", potential)] if potential not in {"", "none", "berry_phase"} else []
    vector = [number(word.encode()) for word in inputs.words("electric_field", "electric_field_vector").split()]
    if any(vector) or amplitude == 0.0:
        return list(berry_field(vector))
    direction = inputs.value("electric_field", "electric_field_direction")
    return list(berry_field([amplitude], int(direction) if direction in {1.0, 2.0, 3.0} else 0))


def _energy(value: float) -> float | None:
    return value * HARTREE if np.isfinite(value) else None
