"""What is said of the readers of the texts of VASP."""

from __future__ import annotations

from typing import Final

from lake.readers.reader_doc import ReaderDoc, Trap

VASPRUN_DOC: Final = ReaderDoc(
    name="vasprun.xml",
    file="`vasprun.xml`, also `vasprun.xml.relax1` and the like; INCAR, KPOINTS, POTCAR titles beside it",
    reads="Every ionic step, also those of a learned force field (flagged); densities of states are passed over.",
    versions="4.6 to 6.6 (seen: 4.6.35, 5.2 to 6.6.0)",
    energy="`e_fr_energy` = F, PSTRESS times volume taken out; `e_0_energy` is energy_sigma0, `e_wo_entrp` energy_internal",
    stress="compression positive, kbar",
    proof="test_golden_stress::test_vasp_stress_is_the_strain_derivative_of_the_energy",
    forces="test_golden_work::test_forces_do_the_work_that_the_energy_loses",
    traps=(
        Trap("T1: before 6.1 the final energies have each other's names", "test_vasp_xml::test_t1_final_energies_shifted_by_one_name"),
        Trap("T2: dispersion stands in the final energy only", "test_vasp_xml::test_t2_dispersion_stands_in_the_final_energy_only"),
        Trap("T3: linear response behind the step", "test_vasp_xml::test_t3_linear_response_behind_the_step"),
        Trap("T4: PSTRESS makes the energy an enthalpy", "test_vasp_xml::test_t4_pressure_is_taken_out_of_the_enthalpy"),
        Trap("T5: a cycle that hit NELM", "test_vasp_xml::test_t5_cycle_of_nelm_steps_is_not_converged"),
        Trap("T6: parameters that are there twice", "test_vasp_xml_level::test_t6_first_of_repeated_parameters_stands"),
        Trap("T8: steps of a learned force field", "test_vasp_xml::test_t8_learned_steps_stand_outside"),
        Trap("T12: two processes in one file, damaged XML", "test_vasp_xml_damaged::test_t12_steps_outside_are_stray"),
        Trap("T13: a cut run", "test_vasp_xml_damaged::test_t13_last_step_counts_when_its_energy_is_closed"),
        Trap("T14: `****`", "test_vasp_xml_damaged::test_t14_overflowed_field_is_null_and_flagged"),
        Trap("T15: wrong symbols (X, r)", "test_vasp_xml_level::test_t15_element_of_title_symbol_and_mass"),
        Trap("T16: one element in two POTCAR blocks", "test_vasp_xml_level::test_t16_element_in_two_blocks"),
        Trap("T18: sign of the stress", "test_vasp_xml::test_t18_stress_sign_and_asymmetric_stress"),
        Trap("T27: forces are not constrained", "test_vasp_xml::test_t27_forces_are_not_constrained_and_fixed_is_kept"),
        Trap("T28: a total with kinetic energy", "test_vasp_xml::test_t28_kinetic_energy_is_left_out"),
        Trap("T31: IVDW is in the INCAR alone", "test_vasp_inputs::test_t31_dispersion_is_in_the_incar_alone"),
        Trap("an INCAR edited after the run", "test_vasp_inputs::test_a_contradiction_is_a_flag_with_both_values_and_nothing_is_filled_in"),
        Trap("tags that change energies", "test_vasp_xml_level::test_tags_that_change_energies_are_in_the_level"),
        Trap(
            "fields, dipole corrections, held occupations, core holes, spirals",
            "test_vasp_beyond::test_another_physical_level_is_in_the_level_of_theory",
        ),
        Trap("penalties on moments, scaled energies, LDAUTYPE = 3", "test_vasp_beyond::test_energies_of_no_functional_are_flagged"),
        Trap("a bias on the atoms of a dynamics", "test_vasp_beyond::test_a_bias_on_moving_atoms_is_told_and_flags_nothing"),
    ),
)
OUTCAR_DOC: Final = ReaderDoc(
    name="OUTCAR",
    file="`OUTCAR`, also `OUTCAR.relax1` and the like; INCAR, KPOINTS, POTCAR titles beside it",
    reads="Every ionic step with a force table; gives the labels where there is no vasprun.xml, else checks it.",
    versions="4.6 to 6.6 (seen: 5.3.5 to 6.4.1)",
    energy="`free  energy   TOTEN` = F; `energy(sigma->0)`; `energy without entropy` is energy_internal",
    stress="`in kB`: compression positive, kbar, XX YY ZZ XY YZ ZX",
    proof="test_golden_stress::test_vasp_stress_is_the_strain_derivative_of_the_energy",
    forces="test_golden_work::test_forces_do_the_work_that_the_energy_loses",
    traps=(
        Trap("T5: 'EDIFF is reached' at NELM", "test_outcar::test_t5_cycle_of_nelm_steps_is_not_converged_though_the_text_says_so"),
        Trap("T8: steps of a learned force field", "test_outcar::test_t8_learned_steps_between"),
        Trap("T9: old versions print energies before forces", "test_outcar::test_t9_old_versions_print_the_energies_first"),
        Trap("T10: steps without a force table", "test_outcar::test_t10_steps_without_a_force_table"),
        Trap("T11: a second force table beside the first", "test_outcar::test_t11_table_with_forces_without_dispersion"),
        Trap("T14: `****`", "test_outcar::test_t14_overflowed_field_is_null_and_flagged"),
        Trap("T15, T16: elements follow the titles", "test_outcar::test_t15_t16_elements_follow_the_titles"),
        Trap("T18: order of the stress, glued columns", "test_outcar::test_t18_order_and_sign_of_stress_and_glued_columns"),
        Trap("T18: a stress with the kinetic part", "test_outcar::test_t18_static_stress_not_that_with_the_kinetic_part"),
        Trap("T19: glued lattice rows", "test_outcar::test_t19_glued_lattice_rows"),
        Trap("T29: bytes that are no text", "test_outcar::test_t29_bytes_that_are_no_text"),
        Trap("T31: IVDW is in the INCAR alone", "test_vasp_inputs::test_t31_dispersion_is_in_the_incar_alone"),
        Trap("ions per type cut after ten types, or glued", "test_outcar::test_list_of_ions_cut_after_ten_types_is_completed"),
        Trap(
            "fields, dipole corrections, held occupations, core holes, spirals",
            "test_vasp_beyond::test_another_physical_level_is_in_the_level_of_theory",
        ),
        Trap("penalties on moments, scaled energies, LDAUTYPE = 3", "test_vasp_beyond::test_energies_of_no_functional_are_flagged"),
        Trap("a bias on the atoms of a dynamics", "test_vasp_beyond::test_a_bias_on_moving_atoms_is_told_and_flags_nothing"),
        Trap("I_CONSTRAINED_M in the INCAR alone", "test_vasp_beyond::test_a_penalty_that_only_the_incar_tells_of_is_flagged"),
        Trap("springs of an elastic band", "test_vasp_beyond::test_forces_of_an_image_are_not_those_of_the_band"),
    ),
)
