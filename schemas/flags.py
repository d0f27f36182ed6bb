"""The flags that a frame or a calculation can carry, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Flag:
    """A remark on a frame or calculation; a disqualifying one keeps a frame out of training unless asked for."""

    name: str
    disqualifies: bool
    doc: str


FLAGS: Final[tuple[Flag, ...]] = (
    Flag("scf_not_converged", True, "The self-consistency cycle stopped before its criterion was met (judged from counts and accuracies)."),
    Flag("scf_unknown", False, "The output does not tell whether the self-consistency cycle of this step met its criterion."),
    Flag("missing_energy", True, "The step has no readable energy."),
    Flag("missing_forces", False, "The step has no complete force table; forces are null, never zero."),
    Flag("missing_stress", False, "The step has no stress tensor; stress is null, never zero."),
    Flag("malformed_values", True, "A field of the step was overflowed (****), NaN or torn; the value is null."),
    Flag(
        "contradictory_values",
        True,
        "The output prints a number twice (volume and vectors of the cell, pressure and stress, largest force and table) with different"
        " values; both are in the calculation's notes.",
    ),
    Flag("machine_learned", True, "Energy and forces come from a force field learned on the fly, not from DFT."),
    Flag(
        "altered_potential",
        True,
        "A restraint, a constrained density or an external potential is in the energy or the forces, which are not those of the"
        " functional alone; the notes say what.",
    ),
    Flag(
        "constrained_forces",
        True,
        "Forces on some atoms are exactly zero and those on the others do not add up to zero, or a collection has zeros for all atoms that"
        " it holds fixed: a constraint was applied to the forces.",
    ),
    Flag("final_scf_other_basis", True, "Last SCF of a variable-cell run: same structure, another plane-wave set."),
    Flag("pulay_suspect", False, "The cell changed while the plane-wave set stayed that of the first cell: stress and energy drift."),
    Flag("pressure_in_energy", True, "The printed energy holds a PV term that could not be taken out."),
    Flag("net_force", False, "The forces of all atoms do not add up to zero within 0.1 eV/Å."),
    Flag("large_force", True, "A force is above 100 eV/Å."),
    Flag("atoms_too_close", True, "Two atoms are nearer than 0.4 Å to each other."),
    Flag("stray_step", True, "The step stands outside of its run in the file (several processes wrote one file)."),
    Flag("linear_response_run", False, "The run goes on with linear response; only its ground state is taken."),
    Flag("truncated", False, "The output ends before its regular end; complete steps are kept."),
    Flag("malformed_steps", False, "Some steps of the run could not be read and were left out; the calculation says how many."),
    Flag("sources_disagree", False, "Two outputs of the same run differ; both values are in the calculation's notes."),
    Flag("companion_of_other_run", False, "A file beside the output belongs to another run and was not used."),
    Flag("units_implausible", True, "The units that the depositor gave make numbers that can hardly be right; the notes say why."),
    Flag("virtual_crystal", True, "Virtual-crystal approximation: several elements share a site."),
)

FLAG_NAMES: Final[frozenset[str]] = frozenset(flag.name for flag in FLAGS)
DISQUALIFYING: Final[frozenset[str]] = frozenset(flag.name for flag in FLAGS if flag.disqualifies)
