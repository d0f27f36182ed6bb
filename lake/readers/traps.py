"""The traps that real outputs of DFT codes set, each with the test that shows that no reader is caught in it.

T1 to T32 were met when readers were compared on 850 real files (VASP, Quantum ESPRESSO, CP2K, extxyz); E, S, F and A are where three
well-known parsers make of energies, stress, frames and atoms something else than the raw text of the outputs says.
"""

from __future__ import annotations

from typing import Final

from lake.readers.reader_doc import KnownTrap
from lake.readers.traps_of_parsers import TRAPS_OF_PARSERS, trap

TRAPS: Final[tuple[KnownTrap, ...]] = (
    trap("T1", "VASP before 6.1 gives the final energies each other's names", "test_vasp_xml::test_t1_final_energies_shifted_by_one_name"),
    trap("T2", "F has the dispersion, the last iteration has not", "test_vasp_xml::test_t2_dispersion_stands_in_the_final_energy_only"),
    trap("T3", "linear response behind the ground state", "test_vasp_xml::test_t3_linear_response_behind_the_step"),
    trap(
        "T4",
        "PSTRESS makes the energy of vasprun.xml an enthalpy, that of the OUTCAR not",
        "test_vasp_xml::test_t4_pressure_is_taken_out_of_the_enthalpy",
        "test_outcar::test_t4_pressure_is_not_in_the_energy",
    ),
    trap(
        "T5",
        "'EDIFF is reached' where NELM was hit",
        "test_vasp_xml::test_t5_cycle_of_nelm_steps_is_not_converged",
        "test_outcar::test_t5_one_exact_step_is_no_failure",
    ),
    trap(
        "T6",
        "parameters of one name, the second of another part of the code",
        "test_vasp_xml_level::test_t6_first_of_repeated_parameters_stands",
    ),
    trap(
        "T7",
        "fewer steps than NSW do not mean that the ions converged",
        "test_traps::test_t7_the_number_of_steps_says_nothing_of_ionic_convergence",
    ),
    trap(
        "T8",
        "steps of a force field learned on the fly",
        "test_vasp_xml::test_t8_learned_steps_stand_outside",
        "test_outcar::test_t8_learned_steps_between",
    ),
    trap("T9", "VASP to 5.2 prints energies before forces", "test_outcar::test_t9_old_versions_print_the_energies_first"),
    trap("T10", "NWRITE: steps without a force table", "test_outcar::test_t10_steps_without_a_force_table"),
    trap("T11", "a second force table beside the first", "test_outcar::test_t11_table_with_forces_without_dispersion"),
    trap(
        "T12",
        "several processes in one file, XML that is none",
        "test_vasp_xml_damaged::test_t12_steps_outside_are_stray",
        "test_vasp_xml_damaged::test_t12_head_that_is_no_xml",
    ),
    trap("T13", "a cut run", "test_vasp_xml_damaged::test_t13_last_step_counts_when_its_energy_is_closed"),
    trap(
        "T14",
        "`****` and NaN",
        "test_vasp_xml_damaged::test_t14_overflowed_field_is_null_and_flagged",
        "test_outcar::test_t14_overflowed_energy_is_null_and_flagged",
    ),
    trap("T15", "X for Xe, r for Zr", "test_vasp_xml_level::test_t15_element_of_title_symbol_and_mass"),
    trap("T16", "one element in two POTCAR blocks", "test_vasp_xml_level::test_t16_element_in_two_blocks"),
    trap("T17", "a cell turned into a triangle is no reference", "test_traps::test_t17_cell_and_forces_are_not_turned"),
    trap(
        "T18",
        "sign and order of VASP's stress",
        "test_vasp_xml::test_t18_stress_sign_and_asymmetric_stress",
        "test_outcar::test_t18_order_and_sign_of_stress_and_glued_columns",
    ),
    trap("T19", "glued numbers in lattice rows", "test_outcar::test_t19_glued_lattice_rows"),
    trap("T20", "a hybrid of pw.x prints `!` for each loop", "test_qe_text::test_hybrid_takes_the_final_value_not_the_first_semilocal_one"),
    trap(
        "T21",
        "`!` of pw.x is F, the internal energy stands below",
        "test_qe_text::test_energy_is_the_free_energy_and_the_internal_one_stands_beside",
    ),
    trap(
        "T22",
        "the final SCF of a vc-relax",
        "test_qe_text::test_cell_parameters_in_the_starting_alat_and_the_final_scf",
        "test_qe_xml::test_final_scf_of_a_variable_cell_run_is_a_frame_of_its_own",
    ),
    trap(
        "T23",
        "units of pw.x: four of positions, two of stress",
        "test_qe_text::test_position_units",
        "test_qe_text::test_stress_is_the_kbar_columns_with_the_sign_turned",
        "test_qe_xml::test_units_sign_and_level",
    ),
    trap(
        "T24",
        "labels, flags of fixed atoms, messages that look like blocks",
        "test_qe_text::test_labels_with_digits_and_fixed_coordinates",
        "test_qe_text::test_messages_that_name_a_block_are_not_one",
    ),
    trap("T25", "'convergence NOT achieved', missing JOB DONE", "test_qe_text::test_failed_scf_is_no_step_and_job_done_is_no_proof"),
    trap(
        "T26",
        "layouts of CP2K; a restart's step that the trajectory lacks",
        "test_cp2k::test_reads_what_is_printed",
        "test_cp2k::test_a_restart_evaluates_a_step_that_the_trajectory_lacks",
        "test_cp2k::test_convergence_is_judged_by_the_last_accuracy",
    ),
    trap("T27", "forces without the constraints of the run", "test_vasp_xml::test_t27_forces_are_not_constrained_and_fixed_is_kept"),
    trap("T28", "a total with kinetic energy", "test_vasp_xml::test_t28_kinetic_energy_is_left_out"),
    trap("T29", "latin-1, NUL and other bytes", "test_outcar::test_t29_bytes_that_are_no_text"),
    trap(
        "T30", "vasprun.xml has more digits than the OUTCAR beside it", "test_traps::test_t30_the_output_with_more_digits_gives_the_labels"
    ),
    trap("T31", "IVDW is in the INCAR alone", "test_vasp_inputs::test_t31_dispersion_is_in_the_incar_alone"),
    trap(
        "T32",
        "extxyz: exponents with D, nan, rows that are too long",
        "test_extxyz::test_t32_exponents_of_fortran_and_numbers_that_are_none",
        "test_extxyz::test_t32_a_row_longer_than_the_columns_is_no_frame_and_is_told",
    ),
    *TRAPS_OF_PARSERS,
)
"""All traps, in the order of their numbers."""
