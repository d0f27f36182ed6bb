"""Where three well-known parsers of DFT outputs differ from the raw text: energies (E), stress (S), frames (F) and atoms (A)."""

from __future__ import annotations

from typing import Final

from lake.readers.reader_doc import KnownTrap


def trap(number: str, words: str, *tests: str) -> KnownTrap:
    """Return a trap with the tests that show it."""
    return KnownTrap(number, words, tests)


TRAPS_OF_PARSERS: Final[tuple[KnownTrap, ...]] = (
    trap(
        "E1",
        "the energy at sigma->0 is not the one of the forces",
        "test_vasp_xml::test_reads_what_is_printed",
        "test_golden_vasp::test_equals_raw_text",
    ),
    trap("E2", "`e_0_energy` of VASP 4 and 5 is no energy", "test_vasp_xml::test_t1_final_energies_without_a_cycle"),
    trap(
        "E3",
        "one blank or two: `free energy` of an iteration, `free  energy` of a step",
        "test_outcar::test_reads_what_is_printed",
        "test_outcar::test_t8_learned_steps_between",
    ),
    trap("E4", "the last iteration of a killed run is no result", "test_traps::test_e4_the_last_iteration_of_a_killed_run_is_no_result"),
    trap("E5", "three energies of FHI-aims", "test_fhi_aims::test_reads_what_is_printed"),
    trap("E6", "three energies of CASTEP", "test_castep::test_reads_what_is_printed", "test_castep::test_dispersion_is_in_the_energy"),
    trap("E7", "fifteen `!` of four steps", "test_qe_text::test_hybrid_takes_the_final_value_not_the_first_semilocal_one"),
    trap("E8", "constants of 2006", "test_printed_decimals::test_every_number_is_a_printed_decimal_times_one_constant"),
    trap("E9", "total energies above zero are no mistake", "test_traps::test_e9_energies_above_zero_are_taken_as_they_are"),
    trap(
        "E10",
        "GW and BSE have no energy; rows of a database without one",
        "test_vasp_xml_level::test_beyond_the_ground_state_is_refused",
        "test_golden_collections::test_qm9_has_its_numbers_in_the_data",
    ),
    trap("S1", "sign, unit and order of each code's stress", "test_golden_work::test_every_code_with_a_stress_has_its_proof"),
    trap(
        "S2",
        "pressures with the kinetic part",
        "test_outcar::test_t18_static_stress_not_that_with_the_kinetic_part",
        "test_golden_other_codes::test_sign_of_stress_in_cp2k",
        "test_castep_trajectory::test_dynamics_take_the_first_energy_and_no_stress",
    ),
    trap(
        "S3",
        "a stress that is not there is null, not zero",
        "test_vasp_xml::test_stress_may_be_absent",
        "test_outcar::test_stress_may_be_absent",
    ),
    trap("S4", "glued components", "test_outcar::test_t18_order_and_sign_of_stress_and_glued_columns"),
    trap("S5", "the stress of a learned step beside the energy of DFT", "test_golden_vasp::test_steps_of_a_learned_force_field_are_marked"),
    trap("S6", "Pulay stress", "test_vasp_xml::test_changed_cell_is_marked"),
    trap(
        "F1",
        "steps that did not converge vanish, or look good",
        "test_outcar::test_t5_cycle_of_nelm_steps_is_not_converged_though_the_text_says_so",
        "test_outcar::test_t5_cycle_that_was_broken_off",
    ),
    trap(
        "F2",
        "`scf_must_converge=.false.`",
        "test_qe_text::test_unconverged_steps_that_the_code_calls_converged",
        "test_qe_xml::test_convergence_is_judged_from_the_error_not_from_the_word",
    ),
    trap("F3", "JOB DONE behind an SCF that failed", "test_qe_text::test_failed_scf_is_no_step_and_job_done_is_no_proof"),
    trap(
        "F4",
        "a cut vasprun.xml",
        "test_vasp_xml_damaged::test_any_prefix_gives_the_prefix_of_frames",
        "test_vasp_xml_damaged::test_t13_no_complete_step",
    ),
    trap(
        "F5",
        "`******` of an integer in the head, numbers for names",
        "test_vasp_xml_damaged::test_t12_head_that_is_no_xml",
        "test_golden_vasp::test_equals_raw_text",
    ),
    trap(
        "F6",
        "ML_FF, vdW columns, NWRITE, sixteen elements",
        "test_outcar::test_list_of_ions_cut_after_ten_types_is_completed",
        "test_golden_vasp::test_cut_list_of_ion_types_is_completed",
    ),
    trap("F7", "DFT steps between learned ones are not equally far apart", "test_outcar::test_t8_learned_steps_between"),
    trap(
        "F8",
        "all images of a band in one vasprun.xml",
        "test_golden_vasp::test_steps_of_several_images_in_one_file_are_told_apart",
        "test_golden_sources::test_images_of_an_elastic_band_are_runs_of_their_own",
    ),
    trap(
        "F9",
        "one folder is not one run",
        "test_grouping::test_another_run_beside_it_is_a_calculation_of_its_own",
        "test_golden_sources::test_the_xml_of_another_run_is_not_merged",
        "test_abinit::test_each_dataset_is_a_run",
        "test_qe_text_damaged::test_several_runs_in_one_log",
    ),
    trap("F10", "frames that parsers of CASTEP, NWChem and Gaussian lose", "test_golden_long_tail::test_dft"),
    trap(
        "F11",
        "logs of CP2K, SIESTA, OpenMX, Elk and ABACUS, for which there is no parser",
        "test_golden_other_codes::test_dft",
        "test_golden_long_tail::test_dft",
    ),
    trap("F12", "finite differences look like dynamics", "test_vasp_xml_level::test_kind_of_run", "test_golden_vasp::test_kinds_and_flags"),
    trap(
        "F13", "the last SCF of a vc-relax is the same structure again", "test_qe_xml::test_output_that_repeats_the_last_step_is_one_frame"
    ),
    trap(
        "A1",
        "X and Z for elements",
        "test_vasp_xml_level::test_t15_unknown_element_is_refused",
        "test_vasp_xml_level::test_t15_element_of_title_symbol_and_mass",
    ),
    trap("A2", "virtual crystals: two atoms on a site", "test_vasp_xml_level::test_virtual_crystal"),
    trap(
        "A3",
        "repeated blocks of an element, labels of CP2K and aims",
        "test_outcar::test_t15_t16_elements_follow_the_titles",
        "test_golden_other_codes::test_levels_of_theory",
    ),
    trap(
        "A4",
        "constraints in the forces",
        "test_fhi_aims::test_forces_under_constraints_are_those_before_them",
        "test_ase_files::test_constraints_are_kept_apart_from_the_forces",
    ),
    trap(
        "A5",
        "spellings of booleans; GGA tags; dispersion without a GGA tag",
        "test_vasp_inputs::test_incar_as_vasp_reads_it",
        "test_vasp_xml_level::test_functional",
    ),
    trap(
        "A6",
        "keys of extxyz",
        "test_extxyz::test_keys_quotes_brackets_and_cases_of_real_files",
        "test_collection_units::test_of_several_energies_the_depositor_names_the_label",
    ),
    trap(
        "A7",
        "RuNNer files without units, or without labels",
        "test_golden_collections::test_units_of_n2p2s_own_examples_are_told_apart",
        "test_golden_collections::test_structures_without_labels",
    ),
    trap("A8", "atoms, dimers and charged systems are no mistake", "test_traps::test_a8_a_single_atom_without_a_force_is_good"),
)
