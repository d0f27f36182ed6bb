"""Proposals for what a depositor left open, how to accept them, and what speaks against what was said."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lake.collections.answers import NO_ANSWERS, Answers, Keys, Units, read_answers, section_text
from lake.collections.label_names import candidates, stem
from lake.collections.labels import Chosen, choose, label
from lake.collections.plausibility import Evidence, cost, energy_cost, energy_is_possible, gather, length_cost, trusted_work, zero_cost
from lake.collections.plausibility import candidates as combinations
from lake.collections.records import Collection
from lake.collections.unit_names import ENERGIES, energy_unit, length_unit
from schemas.calculations import Run
from schemas.errors import QueryError, UnreadableOutput

SURE = 2.0
"""Difference of cost from which one combination of units is clearly better than the next."""


BETTER = 3.0
"""Difference of cost from which another unit of energy speaks against the one that was said: energies of meta-GGAs in VASP, and of tight
binding, lie between the usual zeros, and prove no unit wrong."""


class NeedsUnits(UnreadableOutput):
    """A file leaves its units or labels open; proposal is the most plausible answer."""

    def __init__(self, detail: str, remedy: str, proposal: Answers) -> None:
        super().__init__("needs_units", detail, remedy)
        self.proposal = proposal


def settled(collection: Collection, answers: Answers = NO_ANSWERS, *, member: str = "") -> tuple[Run, ...]:
    """Return the runs of a collection by what its file and the depositor say.

    Raises NeedsUnits with a proposal where that leaves something open, UnreadableOutput('no_complete_step') where no frame has an energy.
    """
    said = _said_together(collection, answers)
    try:
        chosen = choose(collection, said)
    except QueryError as error:
        raise _needs(collection, said, member, (str(error),)) from error
    if not said.complete or chosen.open:
        if not said.keys.energy and not _has_labels(collection):
            raise _no_labels(collection)
        raise _needs(collection, said, member, chosen.open)
    if not chosen.energy:
        raise _no_labels(collection)
    runs = label(collection, said, chosen)
    against = objections(collection, said, chosen) if not collection.certain else ()
    return tuple(_flagged(run, against) for run in runs) if against else runs


def _said_together(collection: Collection, answers: Answers) -> Answers:
    """Return what file and depositor say: on units of a format that defines them the file, on everything else the depositor first."""
    said = answers.over(collection.said)
    if collection.certain:
        said = replace(said, units=collection.said.units)
    if collection.virial_is_energy and said.units.energy and not said.units.virial:
        said = replace(said, units=replace(said.units, virial=said.units.energy))
    return said


def proposed_runs(collection: Collection, proposal: Answers) -> tuple[Run, ...]:
    """Return the runs that a collection would give by a proposal; none where it leaves something open."""
    try:
        chosen = choose(collection, proposal)
        return label(collection, proposal, chosen) if proposal.complete and chosen.energy and not chosen.open else ()
    except QueryError:
        return ()


def propose(collection: Collection, said: Answers = NO_ANSWERS) -> tuple[Answers, tuple[str, ...]]:
    """Return the most plausible answers, holding to what is said, and the evidence in words."""
    keys = _proposed_keys(collection, said)
    chosen = choose(collection, replace(said, keys=keys))
    evidence = gather(collection, chosen)
    fits = [
        each
        for each in combinations(evidence)
        if said.units.energy in ("", each.energy) and said.units.length in ("", each.length) and said.units.force in ("", each.force)
    ] or [each for each in combinations(evidence) if said.units.energy in ("", each.energy) and said.units.length in ("", each.length)]
    best = fits[0] if fits else combinations(evidence)[0]
    units = Units(best.energy, best.length, best.force if best.force != f"{best.energy}/{best.length}" else "")
    found = candidates(collection)
    if found.stress:
        units = replace(units, stress="eV/Angstrom^3" if best.energy == "eV" else f"{best.energy}/{best.length}^3")
    elif found.virial:
        units = replace(units, virial=best.energy)
    given = {name: value for name in vars(said.units) if (value := getattr(said.units, name)) != getattr(Units(), name)}
    words = _words(evidence)
    rival = next((each for each in fits if (each.energy, each.length) != (best.energy, best.length)), None)
    if rival is not None and rival.cost - best.cost < SURE:
        words = (*words, f"not sure: {rival.energy} and {rival.length} fit nearly as well")
    if units.stress or units.virial:
        words = (*words, "unit and sign of the stress or virial cannot be told from the numbers: look them up")
    return Answers(replace(units, **given), keys, said.theory), words


def _proposed_keys(collection: Collection, said: Answers) -> Keys:
    found, keys = candidates(collection), said.keys
    vectors = {name for series in collection.series for name in series.vectors}
    energy = keys.energy if keys.energy in collection.columns else _preferred(found.energy)
    near = tuple(name for name in found.forces if stem(name) == stem(energy)) or found.forces
    forces = keys.forces if keys.forces in vectors or keys.forces.lower() == "none" else _preferred(near)
    stress = keys.stress if keys.stress in collection.columns else _preferred(found.stress)
    virial = keys.virial if keys.virial in collection.columns else _preferred(found.virial)
    return replace(keys, energy=energy, forces=forces, stress=stress, virial="" if stress and not keys.virial else virial)


def _preferred(names: tuple[str, ...]) -> str:
    """Return the first name; where that is an energy with a free energy beside it the latter, to which forces belong (ASE's names)."""
    first = names[0] if names else ""
    free = [name for name in names if name.lower().endswith("free_energy") and stem(name) == stem(first)]
    return free[0] if free else first


def objections(collection: Collection, said: Answers, chosen: Chosen) -> tuple[str, ...]:
    """Return in words why given units make numbers that can hardly be right; () where nothing speaks clearly against them."""
    evidence = gather(collection, chosen)
    energy, length = said.energy.factor, said.length.factor
    found = [
        _against_length(evidence, said.units.length, length),
        _against_energy(evidence, said.units.energy, energy),
        _against_work(evidence, energy, length, said.force.factor),
    ]
    return tuple(words for words in found if words)


def _against_length(evidence: Evidence, name: str, factor: float) -> str:
    ratio = evidence.distance_ratio * factor
    if not math.isfinite(ratio) or length_cost(evidence, factor) < 5.5:
        return ""
    other = min(("Angstrom", "bohr", "nm", "pm"), key=lambda unit: length_cost(evidence, length_unit(unit).factor))
    if other == name or length_cost(evidence, length_unit(other).factor) > 2.0:
        return ""
    return f"with lengths in {name} the nearest atoms are at {ratio:.2f} times the sum of covalent radii; in {other} they would be at bonds"


def _against_energy(evidence: Evidence, name: str, factor: float) -> str:
    if not evidence.energies or (evidence.bonds and zero_cost(evidence, factor) < 4.0):
        return ""
    odd = float(np.mean([not energy_is_possible(each, factor) for each in evidence.energies]))
    costs = {unit: float(np.median([energy_cost(each, energy_unit(unit).factor) for each in evidence.energies])) for unit in ENERGIES}
    other = min(costs, key=lambda unit: costs[unit])
    if odd < 0.5 or costs[other] > 4.5 or costs[name] - costs[other] <= BETTER:
        return ""
    per_atom = float(np.median([each[0] for each in evidence.energies])) * factor
    return f"with energies in {name} there are {per_atom:.4g} eV an atom, which is by no usual zero of energy; {other} would fit"


def _against_work(evidence: Evidence, energy: float, length: float, force: float) -> str:
    if not trusted_work(evidence):
        return ""
    slope = evidence.work_ratio * energy / (force * length)
    if slope > 0 and abs(math.log(slope)) < math.log(3.0):
        return ""
    if slope < 0:
        return "energies rise where the forces do work: the column holds gradients, not forces, or belongs to another energy"
    return (
        f"between {evidence.n_pairs} pairs of neighbouring frames energies change by {slope:.3g} times the work of the forces, expected 1"
    )


def _flagged(run: Run, against: tuple[str, ...]) -> Run:
    return replace(run, flags=tuple(sorted({*run.flags, "units_implausible"})), notes=(*run.notes, *against))


def _has_labels(collection: Collection) -> bool:
    """Return whether some number can be an energy; a file whose energies and forces are all zero holds none."""
    found = candidates(collection)
    values = [collection.columns[name].values for name in found.energy]
    vectors = [each for series in collection.series for name, each in series.vectors.items() if name in found.forces]
    return any(bool(np.nan_to_num(each).any()) for each in (*values, *vectors)) if values else False


def _no_labels(collection: Collection) -> UnreadableOutput:
    names = ", ".join((*collection.columns, *collection.words)) or "none"
    names = f"{names[:300]}{_unnamed(collection, '; columns of three numbers an atom are ')}"
    zeros = "; its energies and forces are all zero" if candidates(collection).energy else ""
    return UnreadableOutput(
        "no_complete_step",
        f"{_frames(collection)} and no energy of one{zeros}; keys of its frames are {names}",
        "if one of these is the energy, say keys energy=NAME; structures alone are no calculation",
    )


def _frames(collection: Collection) -> str:
    return f"{collection.count} frame{'s' if collection.count > 1 else ''}"


def _unnamed(collection: Collection, before: str) -> str:
    """Return words and the names of the columns that forces can be but are not called, '' for none."""
    names = dict.fromkeys(name for series in collection.series for name in series.vectors)
    return f"{before}{', '.join(names)}"[:200] if names and not candidates(collection).forces else ""


def _needs(collection: Collection, said: Answers, member: str, left_open: tuple[str, ...]) -> NeedsUnits:
    clean = Answers(said.units, replace(_proposed_keys(collection, said), type_map=said.keys.type_map), said.theory)
    proposal, words = propose(collection, clean)
    missing = [*left_open, *(() if said.complete else ("units of energy and length",))]
    if not proposal.keys.forces and (columns := _unnamed(collection, "say keys forces=NAME if these columns are forces: ")):
        words = (*words, columns)
    detail = f"{_frames(collection)}; open: {'; '.join(missing)}. Proposal: {command_words(proposal)} ({'; '.join(words)})"
    remedy = (
        f"confirm or correct it: `atomlake retry KEY {command_words(proposal)}`, the same options with `atomlake put`, or in "
        f"{member or 'FILE'}.atomlake.yaml beside it: {yaml_words(proposal)}"
    )
    return NeedsUnits(detail, remedy, proposal)


def command_words(answers: Answers) -> str:
    """Return answers as options of `atomlake put` and `atomlake retry`."""
    return " ".join(f"--{name} '{text}'" for name, text in answers.texts().items())


def yaml_words(answers: Answers) -> str:
    """Return answers as one line of YAML: {units: {energy: Ha, length: bohr}}."""
    parts = []
    for name, text in answers.texts().items():
        inner = ", ".join(f"{key}: {value}" for key, _, value in (pair.partition("=") for pair in text.split(",")))
        parts.append(f"{name}: {{{inner}}}")
    return f"{{{', '.join(parts)}}}"


def _words(evidence: Evidence) -> tuple[str, ...]:
    words = []
    if math.isfinite(evidence.distance_ratio):
        words.append(f"nearest atoms at {evidence.distance_ratio:.2f} times the sum of covalent radii in Å")
    if evidence.energies:
        words.append(f"energy per atom {np.median([each[0] for each in evidence.energies]):.5g}")
    if math.isfinite(evidence.force_rms):
        words.append(f"force components {evidence.force_rms:.3g} rms")
    if evidence.bonds:
        words.append(f"energy per atom over that of the file's isolated atoms {np.median(evidence.bonds):.4g}")
    if trusted_work(evidence):
        words.append(f"energies change by {evidence.work_ratio:.3g} times the work of the forces")
    return tuple(words)


__all__ = ["NeedsUnits", "command_words", "cost", "objections", "propose", "proposed_runs", "read_answers", "section_text", "settled"]
