"""What is said of the reader of ABACUS."""

from __future__ import annotations

from typing import Final

from lake.readers.reader_doc import ReaderDoc, Trap

ABACUS_DOC: Final = ReaderDoc(
    name="ABACUS log",
    file="`running_*.log` in OUT.*, with `MD_dump`, `STRU_ION1_D` and so on, and `INPUT` or `INPUT.info` of its folder",
    reads="Every step whose geometry is printed, or found: of dynamics in `MD_dump` by the forces, of relaxations in `STRU_ION*_D`.",
    versions="2.1 to 3.11",
    energy="`final etot`, `#TOTAL ENERGY#` since 3.11, in eV",
    stress="compression positive, kbar; the pressure below is a third of the trace",
    proof="test_golden_long_tail::test_sign_of_stress_in_abacus",
    forces="test_golden_work::test_forces_do_the_work_that_the_energy_loses",
    traps=(
        Trap("the last energy is printed twice", "test_golden_long_tail::test_dft"),
        Trap("a cycle that fails prints no energy (2)", "test_abacus::test_a_cycle_that_fails_is_counted"),
        Trap("a cycle that fails and goes on (3)", "test_abacus::test_an_energy_behind_a_failed_cycle_is_flagged"),
        Trap("a cycle that fails and prints no energy (3.11)", "test_abacus::test_an_unconverged_cycle_of_3_11_is_kept"),
        Trap("another layout since 3.11", "test_abacus::test_reads_what_version_3_11_prints"),
        Trap("force fields print the same energies", "test_abacus::test_energies_of_a_force_field_are_refused"),
        Trap("places of dynamics are in MD_dump alone", "test_abacus::test_places_of_dynamics_come_from_the_trajectory_by_their_forces"),
        Trap("places of relaxations", "test_abacus::test_places_of_a_relaxation_come_from_the_structures_beside_the_log"),
        Trap("structures left over from another run", "test_abacus::test_structures_of_another_run_give_no_places"),
        Trap("a lost line of the energy", "test_abacus::test_a_step_whose_line_of_the_energy_is_missing_is_counted"),
        Trap("dft_functional overrides pseudopotentials", "test_abacus::test_the_input_overrides_the_functional_of_the_pseudopotentials"),
        Trap("the log does not tell U", "test_abacus::test_the_input_beside_the_log_tells_dispersion_smearing_and_u"),
        Trap("a cell that moves without being printed", "test_abacus::test_a_cell_that_moved_without_being_printed_leaves_the_step_out"),
        Trap(
            "fields, solvents and constrained moments are in INPUT alone",
            "test_abacus::test_fields_and_a_solvent_are_in_the_level_and_constrained_moments_are_flagged",
        ),
        Trap("a cut output", "test_abacus::test_a_cut_output_gives_the_first_steps"),
    ),
)
