"""Reader of the XML that pw.x leaves in its .save folder (data-file-schema.xml, Quantum ESPRESSO 6.2 and later)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from lake.readers.anchors import holds
from lake.readers.base import ReaderSpec
from lake.readers.qe import xml_output as output_section
from lake.readers.qe.level import altered, stress_is_partial
from lake.readers.qe.xml_level import Node, read_level, species_elements
from lake.readers.rows import LIMIT, number
from schemas.calculations import Run
from schemas.elements import NUMBERS
from schemas.errors import UnreadableOutput
from schemas.frames import FrameBlock
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR, HARTREE_PER_BOHR3

FORMAT: Final = "pw.x XML"

Floats = NDArray[np.float64]

_KEPT: Final = frozenset({"general_info", "input", "step", "output", "status", "exit_status"})
_LEFT_OUT: Final = frozenset({"ks_energies", "symmetries", "Hubbard_ns", "Hubbard_ns_nc", "fft_grid", "clocks", "equivalent_atoms"})
_KINDS: Final = {"scf": "static", "relax": "relax", "vc-relax": "vc-relax", "md": "md", "vc-md": "vc-md", "ensemble": "static"}
_NO_ENERGIES: Final = frozenset({"nscf", "bands"})
_SLACK: Final = 1.1
_STEP_SLACK: Final = 2 * _SLACK
"""scf_error of a <step> is in Ry in releases to 7.x, that of <output> in Ha: the step's is judged against twice the threshold."""
_PULAY_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, eq=False)
class _Step:
    """One configuration in the file's units; arrays of NaN where the file does not give them."""

    labels: tuple[str, ...]
    positions: Floats
    cell: Floats
    energy: float
    internal: float
    forces: Floats
    stress: Floats
    error: float
    achieved: bool
    n_scf: int


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of an XML file of the qes schema."""
    del name
    return holds(head, b"<qes:espresso", b"q") or (holds(head, b"QEXSD", b"Q") and b"<espresso" in head)


class PwXmlReader:
    """Push reader of a data-file-schema.xml: each step is taken when its element closes, and its tree is dropped."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._entity
        self._open: list[Node] = []
        self._depth = 0
        self._silent = 0
        self._sections: dict[str, Node] = {}
        self._steps: list[_Step] = []
        self._malformed = 0
        self._moves = False
        """There is a <step>: the atoms move, and forces were computed for it."""
        self._notes: list[str] = []
        self._broken = ""
        self._refusal: UnreadableOutput | None = None
        self._closed = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; what stands behind an error in the XML is not read."""
        if self._broken or self._closed:
            return
        try:
            self._parser.Parse(chunk, False)
        except UnreadableOutput as refusal:
            self._refusal, self._broken = refusal, refusal.detail
        except (expat.ExpatError, LookupError, ValueError) as error:
            self._broken = str(error) or "not XML"

    def close(self) -> tuple[Run, ...]:
        """Return the one run of the file; raises UnreadableOutput where it has no complete step."""
        if self._refusal is not None:
            raise self._refusal
        calculation = self._sections["input"].words("control_variables", "calculation") if "input" in self._sections else ""
        if calculation in _NO_ENERGIES:
            raise UnreadableOutput(
                "not_energies", f"calculation='{calculation}' has no total energies", "send the XML of the scf run before it"
            )
        inputs = self._sections.get("input")
        if inputs is None:
            where = f" ({self._broken})" if self._broken else ""
            raise UnreadableOutput("no_complete_step", f"the XML ends in its input section{where}", "send the XML of a run that ended")
        final = self._add_output(inputs)
        if not self._steps:
            said = "; ".join(self._notes) or self._broken or "the XML has no step and no output section"
            raise UnreadableOutput("no_complete_step", said, "send the XML of a run that ended, or the stdout of pw.x")
        return (self._run(inputs, calculation, final),)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._silent or (tag in _LEFT_OUT and self._open):
            self._silent += 1
        elif self._open or (self._depth == 2 and tag in _KEPT):
            node = Node(tag, attributes)
            if self._open:
                self._open[-1].children.append(node)
            self._open.append(node)

    def _end(self, tag: str) -> None:
        del tag
        self._depth -= 1
        if self._silent:
            self._silent -= 1
        elif self._open:
            node = self._open.pop()
            if not self._open:
                self._take(node)
        self._closed = self._closed or self._depth == 0

    def _characters(self, text: str) -> None:
        if self._open and not self._silent:
            self._open[-1].text.append(text)

    def _entity(self, *_: object) -> None:
        """Refuse entities, which can blow up a small file; pw.x declares none."""
        raise UnreadableOutput("unreadable_output", "the XML declares entities, which pw.x never does", "send the file that pw.x wrote")

    def _take(self, node: Node) -> None:
        if node.tag == "step":
            self._moves = True
            self._add(node, "scf_conv", f"step {len(self._steps)}")
        else:
            self._sections[node.tag] = node

    def _add(self, node: Node, convergence: str, name: str) -> None:
        step = _read_step(node, convergence)
        if step is None or (self._steps and step.labels != self._steps[0].labels):
            self._malformed += 1
            self._notes.append(f"{name}: energy or geometry cannot be read; it was left out")
        elif not step.achieved:
            self._notes.append(f"{name}: convergence_achieved is false after {step.n_scf} iterations; it has no final energy")
        else:
            self._steps.append(step)

    def _add_output(self, inputs: Node) -> bool:
        """Take the <output> section; return whether it is a step of its own (the final SCF of a variable-cell run)."""
        early = self._moves and output_section.geometry_of_the_next(self._version())
        if early:
            self._notes.append(output_section.EARLY_STEPS)
        output = self._sections.get("output")
        if output is None:
            self._steps = [] if early else self._steps
            return False
        last = self._steps[-1] if self._steps else None
        if early:
            self._steps = []
        before = len(self._steps)
        if last is not None or not early:
            self._add(output, "convergence_info/scf_conv", "output")
        if len(self._steps) == before or last is None:
            return False
        step = self._steps.pop()
        same = output_section.repeats(inputs, step.energy, last.energy, last.cell)
        if early:
            self._steps += [step] if output_section.ends_at_its_step(inputs, output, same_energy=same) else []
            return False
        if same:
            self._steps[-1] = _filled(last, step, stress=output_section.keeps_the_stress(inputs))
            return False
        if not output_section.stands_still(output, (step.positions, step.cell), (last.positions, last.cell)):
            self._notes.append(output_section.MOVED_ON)
            return False
        self._steps.append(step)
        return True

    def _version(self) -> str:
        return self._sections["general_info"].attribute("VERSION", "creator") if "general_info" in self._sections else ""

    def _is_image(self, inputs: Node) -> bool:
        """Return whether the XML is neb.x's of an image: it has forces of a single configuration that were not asked for."""
        asked = inputs.words("control_variables", "forces") != "false"
        return not asked and not self._moves and bool(np.isfinite(self._steps[0].forces).all())

    def _run(self, inputs: Node, calculation: str, final: bool) -> Run:
        numbers = _numbers(inputs, self._steps[0].labels)
        fixed = _fixed(inputs, len(numbers))
        image = self._is_image(inputs)
        if image:
            self._steps = [replace(step, forces=np.full_like(step.forces, np.nan)) for step in self._steps]
            self._notes.append("an image of neb.x: the XML has the forces of the calculation before, left out here; PW.out has its own")
        frames = self._frames(numbers, fixed, inputs.value("electron_control", "conv_thr"), final)
        if fixed is not None:
            self._notes.append("coordinates are held fixed: the XML has their forces as zero, so forces are left null")
        status = self._sections.get("exit_status") or self._sections.get("status")
        if status is not None and "".join(status.text).strip() not in {"", "0"}:
            self._notes.append(f"exit status {''.join(status.text).strip()}")
        if self._broken:
            self._notes.append(f"the XML breaks off: {self._broken}")
        flags = {flag for flag, holds in (("truncated", not self._closed), ("malformed_steps", self._malformed > 0)) if holds}
        level = read_level(inputs, self._sections.get("output"), frames.cell[0])
        if notes := altered(level):
            flags.add("altered_potential")
            self._notes += notes
        if stress_is_partial(level):
            frames = replace(frames, stress=np.full_like(frames.stress, np.nan), stress_source="")
        return Run(
            code="qe",
            code_version=self._version(),
            kind="neb" if image else _KINDS.get(calculation, "unknown"),
            format=FORMAT,
            level_of_theory=level,
            frames=frames,
            complete=self._closed,
            flags=tuple(sorted(flags)),
            notes=tuple(self._notes),
            n_malformed_steps=self._malformed,
        )

    def _frames(self, numbers: NDArray[np.int16], fixed: NDArray[np.bool_] | None, threshold: float, final: bool) -> FrameBlock:
        steps = self._steps
        converged = np.array([self._judge(place, threshold, final) for place in range(len(steps))], dtype=np.int8)
        cell = np.array([step.cell for step in steps]) * BOHR
        forces = np.array([step.forces for step in steps]) * HARTREE_PER_BOHR
        stress = np.array([step.stress for step in steps]) * -HARTREE_PER_BOHR3
        moved = np.abs(cell - cell[0]).max(axis=(1, 2)) > _PULAY_TOLERANCE
        flags = []
        for place in range(len(steps)):
            own = final and place == len(steps) - 1
            tests = (
                ("scf_not_converged", converged[place] == 0),
                ("scf_unknown", converged[place] < 0),
                ("final_scf_other_basis", own),
                ("pulay_suspect", bool(moved[place]) and not own),
            )
            flags.append(tuple(sorted(name for name, holds in tests if holds)))
        return FrameBlock(
            numbers=numbers,
            pbc=np.ones(3, dtype=bool),
            cell=cell,
            positions=np.array([step.positions for step in steps]) * BOHR,
            energy=np.array([step.energy for step in steps]) * HARTREE,
            forces=forces if fixed is None else np.full_like(forces, np.nan),
            stress=0.5 * (stress + stress.transpose(0, 2, 1)),
            energy_sigma0=np.full(len(steps), np.nan),
            energy_internal=np.array([step.internal for step in steps]) * HARTREE,
            scf_converged=converged,
            n_scf_steps=np.array([step.n_scf for step in steps], dtype=np.int32),
            step=np.arange(len(steps), dtype=np.int32),
            flags=tuple(flags),
            energy_source="pw.x XML etot, F = E - TS",
            stress_source="pw.x XML stress, Ha/bohr**3, sign turned" if bool(np.isfinite(stress).any()) else "",
            fixed=fixed,
        )

    def _judge(self, place: int, threshold: float, final: bool) -> int:
        """Compare the SCF error with the threshold of the input; the word of the code is not asked."""
        error = self._steps[place].error
        if not np.isfinite(error) or not threshold > 0:
            return -1
        static = len(self._steps) == 1 or (final and place == len(self._steps) - 1)
        return int(error <= (_SLACK if static else _STEP_SLACK) * threshold)


def _read_step(node: Node, convergence: str) -> _Step | None:
    """Return the configuration of a <step> or <output>, or None where energy or geometry is not whole."""
    atoms = list(node.all("atomic_structure", "atomic_positions", "atom"))
    cell = _floats(" ".join(node.words("atomic_structure", "cell", name) for name in ("a1", "a2", "a3")), (3, 3))
    positions = _floats(" ".join("".join(atom.text) for atom in atoms), (len(atoms), 3))
    energy = node.value("total_energy", "etot")
    whole = bool(np.isfinite(cell).all() and np.isfinite(positions).all() and np.isfinite(energy))
    if not atoms or not whole or node.attribute("nat", "atomic_structure").strip() != str(len(atoms)):
        return None
    path = convergence.split("/")
    count = node.value(*path, "n_scf_steps")
    return _Step(
        labels=tuple(atom.attributes.get("name", "").strip() for atom in atoms),
        positions=positions,
        cell=cell,
        energy=energy,
        internal=energy - node.value("total_energy", "demet"),
        forces=_floats(node.words("forces"), (len(atoms), 3)),
        stress=_floats(node.words("stress"), (3, 3)),
        error=node.value(*path, "scf_error"),
        achieved=node.words(*path, "convergence_achieved") != "false",
        n_scf=int(count) if 0 <= count < 1e6 else -1,
    )


def _floats(text: str, shape: tuple[int, int]) -> Floats:
    """Return the numbers of a text as an array of that shape; all NaN where their count or one of them is wrong."""
    words = text.split()
    if len(words) != shape[0] * shape[1] or "_" in text:
        return np.full(shape, np.nan)
    try:
        values = np.array(list(map(float, words)))
    except ValueError:
        values = np.array([number(word.encode()) for word in words])
    return values.reshape(shape) if bool((np.abs(values) < LIMIT).all()) else np.full(shape, np.nan)


def _filled(step: _Step, other: _Step, *, stress: bool) -> _Step:
    """Return step with what only <output> has: tables, its stress where that is as computed, the SCF error in Ha."""
    return _Step(
        labels=step.labels,
        positions=step.positions,
        cell=step.cell,
        energy=step.energy,
        internal=step.internal if np.isfinite(step.internal) else other.internal,
        forces=step.forces if np.isfinite(step.forces).all() else other.forces,
        stress=other.stress if stress and not np.isfinite(step.stress).all() else step.stress,
        error=step.error,
        achieved=step.achieved,
        n_scf=step.n_scf,
    )


def _numbers(inputs: Node, labels: tuple[str, ...]) -> NDArray[np.int16]:
    elements = species_elements(inputs)
    numbers = [NUMBERS.get(elements.get(label, ""), 0) for label in labels]
    if 0 in numbers:
        unknown = ", ".join(sorted({label for label, z in zip(labels, numbers, strict=True) if z == 0}))
        raise UnreadableOutput("unreadable_output", f"atom labels {unknown}: not elements", "name species by element symbols, like 'Fe1'")
    return np.array(numbers, dtype=np.int16)


def _fixed(inputs: Node, natoms: int) -> NDArray[np.bool_] | None:
    free = _floats(inputs.words("free_positions"), (natoms, 3))
    if not bool(np.isfinite(free).all()) or bool((free != 0).all()):
        return None
    return np.asarray(free == 0, dtype=np.bool_)


PW_XML: Final = ReaderSpec(name=FORMAT, code="qe", recognises=recognises, open=PwXmlReader, rank=1)
