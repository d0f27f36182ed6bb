"""What is said of the reader of Elk."""

from __future__ import annotations

from typing import Final

from lake.readers.reader_doc import ReaderDoc, Trap

ELK_DOC: Final = ReaderDoc(
    name="Elk INFO.OUT",
    file="`INFO.OUT`, with `GEOMETRY_OPT.OUT`, `TOTENERGY_OPT.OUT`, `FORCES_OPT.OUT` and `elk.in` of its folder",
    reads="Its last step; with the files beside it all steps of an optimisation; the geometry of the first is in `elk.in` alone.",
    versions="2 to 10 (seen: 4.0.15, 8.4.30; optimisations 8.4.30), 1 by its source alone; no dynamics",
    energy="`total energy` with its entropic term; without that it is energy_internal",
    stress="",
    proof="",
    forces="test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy",
    traps=(
        Trap("sign and unit of the forces", "test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy"),
        Trap("the entropic term is in the total energy", "test_elk::test_reads_what_is_printed"),
        Trap("fields and fixed moments", "test_elk::test_fields_and_fixed_moments_are_in_the_level"),
        Trap("fields on atoms", "test_elk::test_fields_on_atoms_and_the_moments_that_are_fixed_are_in_the_level"),
        Trap("later steps have no positions", "test_elk::test_later_steps_have_no_positions"),
        Trap(
            "a geometry is written after the update of its step",
            "test_elk_optimisation::test_energy_and_forces_belong_to_the_geometry_of_the_record_before",
        ),
        Trap(
            "all atoms are shifted between steps",
            "test_elk_optimisation::test_forces_are_minus_the_derivative_of_the_energy_along_a_relaxation",
        ),
        Trap("an input edited after the run", "test_elk_optimisation::test_an_input_that_does_not_lead_to_the_second_step_is_not_used"),
        Trap("energies of strained cells", "test_elk_optimisation::test_energies_of_cells_strained_for_the_stress_are_no_steps"),
        Trap("files of another run", "test_elk_optimisation::test_files_of_another_run_are_not_used"),
        Trap("a cut file beside it", "test_elk_optimisation::test_a_cut_companion_gives_some_of_the_same_steps"),
    ),
)
