"""What each reader reads, said once: the page docs/readers.md is made from this, and a test holds that the named tests exist."""

from __future__ import annotations

from typing import Final

from lake.readers.abacus.described import ABACUS_DOC
from lake.readers.collections.described import COLLECTION_DOCS
from lake.readers.cp2k.described import CP2K_DOC
from lake.readers.described_binary import BINARY_DOCS
from lake.readers.elk.described import ELK_DOC
from lake.readers.reader_doc import ReaderDoc, Trap
from lake.readers.vasp.described import OUTCAR_DOC, VASPRUN_DOC

_PW_STDOUT: Final = ReaderDoc(
    name="pw.x stdout",
    file="What pw.x prints: `pw.out`, `*.out`, `*.pwo`, `aiida.out`; `PW.out` of the images of neb.x",
    reads="Every ionic step with geometry, F, E, forces, stress, cycle; several runs of one log.",
    versions="5.0 to 7.5 (seen: 5.1 to 7.4)",
    energy="`!` (of hybrids `!!`): total energy F = E - TS; `internal energy` is energy_internal",
    stress="compression positive; the kbar columns, where they are absent those in Ry/bohr³",
    proof="test_stress_derivative::test_stress_is_the_strain_derivative_of_the_energy",
    forces="test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy",
    traps=(
        Trap("which energy the forces belong to", "test_stress_derivative::test_the_energy_is_the_free_energy"),
        Trap(
            "T20: a hybrid prints `!` for each loop of exact exchange",
            "test_qe_text::test_hybrid_takes_the_final_value_not_the_first_semilocal_one",
        ),
        Trap("T21: F, E and -TS are three numbers", "test_qe_text::test_energy_is_the_free_energy_and_the_internal_one_stands_beside"),
        Trap("T22: last SCF of vc-relax is in another basis", "test_qe_text::test_cell_parameters_in_the_starting_alat_and_the_final_scf"),
        Trap("T23: four units of positions", "test_qe_text::test_position_units"),
        Trap("T23: stress twice in one row", "test_qe_text::test_stress_is_the_kbar_columns_with_the_sign_turned"),
        Trap("T24: labels like Fe1, flags of fixed atoms", "test_qe_text::test_labels_with_digits_and_fixed_coordinates"),
        Trap("T24: messages that name a block", "test_qe_text::test_messages_that_name_a_block_are_not_one"),
        Trap("T25: 'converged' above the threshold", "test_qe_text::test_unconverged_steps_that_the_code_calls_converged"),
        Trap("T25: JOB DONE proves nothing", "test_qe_text::test_failed_scf_is_no_step_and_job_done_is_no_proof"),
        Trap("glued and overflowed fields", "test_qe_text::test_glued_and_overflowed_fields"),
        Trap("several runs in one log", "test_qe_text::test_several_runs_in_one_log"),
        Trap("zeros in the stress of a screened slab", "test_qe_text::test_stress_of_a_screened_slab_has_zeros_that_are_none"),
        Trap("external forces in the energy", "test_qe_text::test_parts_of_the_energy_tell_what_the_header_does_not"),
        Trap("images of neb.x: PW.out without a banner", "test_qe_text::test_an_image_of_neb_x_is_a_run_without_banner_and_end"),
        Trap("a cut file", "test_qe_text::test_any_prefix_gives_the_exact_prefix_of_the_frames"),
    ),
)
_PW_XML: Final = ReaderDoc(
    name="pw.x XML",
    file="`data-file-schema.xml` in PREFIX.save, and copies of it",
    reads="All steps with geometry, energy, forces, stress; the level of theory in full digits.",
    versions="6.2 and newer (seen: 6.3 to 7.2)",
    energy="`etot` = F = E - TS, in Ha",
    stress="compression positive, Ha/bohr³",
    proof="test_golden_qe::test_stdout_and_xml_of_the_same_run_agree",
    traps=(
        Trap("the output repeats the last step", "test_qe_xml::test_output_that_repeats_the_last_step_is_one_frame"),
        Trap("T22: final SCF of a variable cell", "test_qe_xml::test_final_scf_of_a_variable_cell_run_is_a_frame_of_its_own"),
        Trap("T25: the word 'converged'", "test_qe_xml::test_convergence_is_judged_from_the_error_not_from_the_word"),
        Trap(
            "images of neb.x: forces of the step before",
            "test_qe_xml::test_forces_of_an_image_of_neb_x_are_those_of_the_step_before_and_left_out",
        ),
        Trap("gates, solvents, held moments, external forces", "test_qe_xml::test_what_the_input_puts_beside_the_functional_is_told"),
        Trap("forces of zero that were not computed", "test_qe_xml::test_forces_that_the_code_set_to_zero_are_null"),
        Trap("a cut file", "test_qe_xml::test_any_prefix_gives_the_prefix_of_the_frames"),
    ),
)
_ABINIT: Final = ReaderDoc(
    name="ABINIT output",
    file="The main output: `*.abo`, `*.out`",
    reads="Each dataset that computes a ground state is a run of its own, with all steps of its relaxation.",
    versions="7 to 10 (seen: 7.8.2, 9.6.2, 10.2.7)",
    energy="`etotal`, with -kT times the entropy where states are smeared",
    stress="tension positive, Ha/bohr³",
    proof="test_stress_derivative::test_stress_is_the_strain_derivative_of_the_energy",
    forces="test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy",
    traps=(
        Trap("which energy the forces belong to", "test_stress_derivative::test_the_energy_is_the_free_energy"),
        Trap("several datasets", "test_abinit::test_each_dataset_is_a_run"),
        Trap("convergence by the tolerance of the input", "test_abinit::test_convergence_is_judged_by_the_tolerance_of_the_input"),
        Trap("toldfe must be met twice", "test_abinit::test_a_small_difference_of_energy_must_come_twice"),
        Trap("datasets that are no ground state", "test_abinit::test_datasets_that_give_no_ground_state_are_refused"),
        Trap("penalties, positrons, jellium", "test_abinit::test_what_is_in_the_energy_beside_the_functional_is_flagged"),
        Trap("forces zeroed or projected by constraints", "test_abinit::test_forces_that_constraints_changed_are_left_out"),
        Trap("a cut output", "test_abinit::test_a_cut_output_gives_the_first_steps"),
    ),
)
_SIESTA: Final = ReaderDoc(
    name="SIESTA output",
    file="What SIESTA prints: `*.out`, `out`",
    reads="Steps with printed coordinates.",
    versions="3 to 5 (seen: 4.0, MaX-1.0)",
    energy="`FreeEng` = E_KS - TS; steps of a relaxation print E_KS with four decimals, the entropy of their cycle is added",
    stress="tension positive, eV/Å³ or kbar; the pressure beside it has the other sign",
    proof="test_golden_other_codes::test_sign_of_stress_in_abinit_and_siesta",
    forces="test_golden_work::test_forces_of_siesta_are_the_stress_of_a_molecule",
    traps=(
        Trap("E_KS is not the free energy", "test_siesta::test_steps_of_a_relaxation_have_four_decimals_and_the_entropy_of_their_cycle"),
        Trap("coordinates are not always printed", "test_siesta::test_without_coordinates_only_the_first_step_has_positions"),
        Trap("U, fields and pair potentials stand apart", "test_siesta::test_what_only_later_text_tells_is_in_the_level"),
        Trap("a script leads the relaxation", "test_siesta::test_steps_that_a_script_leads_begin_otherwise"),
        Trap("a cycle above its tolerance", "test_siesta::test_a_cycle_above_its_tolerance_is_not_converged"),
        Trap("the stress of dynamics", "test_siesta::test_the_stress_of_dynamics_is_the_static_one"),
        Trap("two orders of the stress", "test_siesta::test_newer_versions_print_the_stress_in_another_order"),
        Trap("forces in the final report alone", "test_siesta::test_forces_that_only_the_final_report_prints"),
        Trap("floating orbitals", "test_siesta::test_floating_orbitals_are_no_atoms"),
        Trap("mixed atoms, open boundaries", "test_siesta::test_what_is_no_run_of_atoms_is_refused_by_name"),
        Trap("a cut output", "test_siesta::test_a_cut_output_gives_the_first_steps"),
    ),
)
_OPENMX: Final = ReaderDoc(
    name="OpenMX output",
    file="`System.Name.out`, with `System.Name.md` of its folder; its `.dat` and `.dat#` are compared with the input in it",
    reads="First and last step; with the .md beside it all steps.",
    versions="3.6 to 3.9 (seen: 3.9.2)",
    energy="`Utot`; no entropy term is printed (300 K unless set)",
    stress="",
    proof="",
    forces="test_golden_work::test_forces_do_the_work_that_the_energy_loses",
    traps=(
        Trap("a penalty on spins", "test_openmx::test_a_penalty_on_spins_is_flagged_and_magnetic_fields_are_in_the_level"),
        Trap("the geometry after the last energy", "test_openmx::test_the_end_of_a_dynamics_is_not_taken_for_its_last_step"),
        Trap("an .md that several runs wrote", "test_openmx::test_a_trajectory_that_several_runs_wrote"),
        Trap("a molecule without vectors", "test_openmx::test_a_molecule_without_vectors_is_read_without_a_cell"),
        Trap("an .md of another run", "test_companions::test_trajectory_of_another_run_of_openmx_stays_a_calculation"),
        Trap("convergence by the band energy", "test_openmx::test_convergence_is_judged_by_the_change_of_the_band_energy"),
        Trap("a cut output", "test_openmx::test_a_cut_output_gives_the_first_steps"),
    ),
)
_OPENMX_MD: Final = ReaderDoc(
    name="OpenMX .md",
    file="`System.Name.md`, where no .out is beside it, with `.dat` or `.dat#` of its folder",
    reads="All steps; five decimals of a hartree; the level of theory where an input of the run is beside it.",
    versions="3.6 to 3.9 (seen: 3.9)",
    energy="`Energy` = Utot",
    stress="",
    proof="",
    forces="test_golden_work::test_forces_do_the_work_that_the_energy_loses",
    traps=(
        Trap("it says neither functional nor convergence", "test_openmx::test_a_trajectory_alone_says_what_it_lacks"),
        Trap("an input of another run or structure", "test_openmx_given::test_an_input_of_another_structure_or_run_is_not_used"),
        Trap("an input edited after the run", "test_openmx_given::test_an_edited_input_is_told"),
        Trap("an input alone is no output", "test_openmx_given::test_an_input_alone_is_recognised_and_told"),
        Trap("the .md2 begins likewise", "test_golden_other_codes::test_openmx_output_with_its_trajectory"),
    ),
)

_FHI_AIMS: Final = ReaderDoc(
    name="FHI-aims output",
    file="What FHI-aims prints: `aims.out`, `*.out`",
    reads="Every step of a relaxation or dynamics with its geometry.",
    versions="2013 to 2024 (seen: 151211, 170101, 180126, 190813, 210226)",
    energy="electronic free energy; 'corrected' is energy_sigma0, 'uncorrected' energy_internal",
    stress="tension positive, eV/Å³; the pressure beside it has the other sign",
    proof="test_golden_long_tail::test_sign_of_stress_in_fhi_aims_and_castep",
    forces="test_golden_work::test_forces_do_the_work_that_the_energy_loses",
    traps=(
        Trap("constrained electrons", "test_fhi_aims::test_constrained_electrons_and_wells_are_flagged"),
        Trap("a field stands in geometry.in", "test_fhi_aims::test_a_field_of_the_geometry_is_in_the_level"),
        Trap("three energies of one step", "test_fhi_aims::test_reads_what_is_printed"),
        Trap("printed forces with constraints in them", "test_fhi_aims::test_forces_under_constraints_are_those_before_them"),
        Trap("strained cells of a numerical stress", "test_fhi_aims::test_cycles_of_strained_cells_for_a_numerical_stress_are_no_steps"),
        Trap("a cycle that is started anew", "test_fhi_aims::test_a_cycle_that_starts_anew_is_no_step"),
        Trap("the last step of a dynamics", "test_fhi_aims::test_the_last_step_of_a_dynamics_has_its_places_under_another_title"),
        Trap("nothing behind the last atom", "test_fhi_aims::test_a_molecule_moves_though_nothing_stands_behind_its_last_atom"),
        Trap("solvents, ranges of screened exchange", "test_fhi_aims::test_what_else_changes_the_physics_is_in_the_level"),
        Trap("charges around the atoms", "test_fhi_aims::test_charges_around_the_atoms_are_refused"),
        Trap("outputs without control.in", "test_fhi_aims::test_old_versions_name_the_free_energy_and_the_level_otherwise"),
        Trap("a cut output", "test_fhi_aims::test_a_cut_output_gives_the_first_steps"),
    ),
)
_CASTEP: Final = ReaderDoc(
    name="CASTEP output",
    file="`*.castep`",
    reads="Every step; a continued run appended to the file is a run of its own.",
    versions="5 to 24 (seen: 16.1, 17.2)",
    energy="`Final free energy (E-TS)` without the constant for the finite basis; `NB est. 0K energy` is energy_sigma0",
    stress="tension positive, in the unit that is printed beside it; the pressure below has the other sign",
    proof="test_golden_long_tail::test_sign_of_stress_in_fhi_aims_and_castep",
    forces="test_golden_work::test_forces_do_the_work_that_the_energy_loses",
    traps=(
        Trap("energies of other cutoffs", "test_golden_long_tail::test_castep_energies_of_other_cutoffs_are_flagged"),
        Trap("'Final energy, E' is not the free energy", "test_castep::test_reads_what_is_printed"),
        Trap("dispersion is added below", "test_castep::test_dispersion_is_in_the_energy"),
        Trap("forces with constraints", "test_castep::test_constrained_forces_are_taken_where_only_the_centre_of_mass_is_held"),
        Trap("occupations of deltaSCF", "test_castep::test_occupations_of_delta_scf_are_flagged"),
        Trap("an outer field", "test_castep::test_an_outer_field_is_in_the_level"),
        Trap("a file that was continued", "test_castep::test_a_continued_run_is_a_run_of_its_own"),
        Trap("a cut output", "test_castep::test_a_cut_output_gives_the_first_steps"),
    ),
)
_GPAW: Final = ReaderDoc(
    name="GPAW text",
    file="The text that GPAW writes: `*.txt`, `gpaw.out`",
    reads="Every configuration that was computed.",
    versions="0.9 to 24 (seen: 22.8.0)",
    energy="`Free energy`, relative to the sum of the reference atoms' energies; `Extrapolated` is energy_sigma0",
    stress="tension positive, eV/Å³",
    proof="test_stress_derivative::test_stress_is_the_strain_derivative_of_the_energy",
    forces="test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy",
    traps=(
        Trap("energies are relative to reference atoms", "test_golden_long_tail::test_trajectory_beside_gpaw_text_has_the_same_frames"),
        Trap("an external potential", "test_gpaw::test_an_external_potential_is_flagged"),
        Trap("terms of a solvent", "test_gpaw::test_terms_of_a_solvent_are_no_contradiction_and_in_the_level"),
        Trap("the word 'Converged'", "test_gpaw::test_convergence_is_judged_from_the_energies"),
        Trap("another layout since 25.7 (gpaw.new)", "test_gpaw::test_the_text_of_the_rewritten_gpaw_is_refused_with_what_to_do"),
        Trap("a cut inside the closing table", "test_gpaw::test_a_text_cut_inside_its_closing_table_is_truncated"),
        Trap("a cut output", "test_gpaw::test_a_cut_output_gives_the_first_steps"),
    ),
)
_GAUSSIAN: Final = ReaderDoc(
    name="Gaussian log",
    file="`*.log`, `*.out`",
    reads="Every step with positions in the input orientation, in which the forces are printed; periodic runs with their vectors.",
    versions="03 to 16 (seen: 98 to 16 C.01, periodic 03 C.01 to 16 B.01)",
    energy="`SCF Done`, in hartree",
    stress="",
    proof="",
    forces="test_golden_work::test_forces_of_gaussian_predict_its_change_of_energy",
    traps=(
        Trap("two orientations, forces in one of them", "test_gaussian::test_forces_are_not_taken_with_the_standard_orientation"),
        Trap("translation vectors among the atoms and the forces", "test_gaussian::test_translation_vectors_are_the_cell"),
        Trap("a lost line of the energy", "test_gaussian::test_a_step_whose_line_of_the_energy_is_missing_is_counted"),
        Trap("semi-empirical methods, MP2, double hybrids, excited states", "test_gaussian::test_energies_of_other_theories_are_refused"),
        Trap("a run whose cycle did not converge", "test_gaussian::test_the_change_of_the_density_tells_convergence"),
        Trap("a cut log of ONIOM or coupled clusters", "test_gaussian::test_a_route_to_another_energy_is_refused_before_that_is_printed"),
        Trap("several energies of one geometry", "test_gaussian::test_of_several_energies_of_one_geometry_the_last_counts"),
        Trap("finite fields, a second basis in one job", "test_gaussian::test_an_energy_in_another_field_basis_or_solvent_is_left_out"),
        Trap("basis sets read from cards", "test_gaussian::test_a_general_basis_is_known_by_its_functions"),
        Trap("solvents that the route does not tell", "test_gaussian::test_the_solvent_is_the_printed_one"),
        Trap("triplets beside singlets", "test_gaussian::test_a_state_of_several_unpaired_electrons_is_in_the_level"),
        Trap("logs shortened by hand", "test_gaussian::test_nuclei_that_repel_each_other_otherwise_are_those_of_another_step"),
        Trap("options that change the functional", "test_gaussian::test_options_that_change_the_functional_are_in_the_level"),
        Trap("a cut output", "test_gaussian::test_a_cut_output_gives_the_first_steps"),
    ),
)
_ORCA: Final = ReaderDoc(
    name="ORCA output",
    file="`*.out`",
    reads="Every step of a geometry optimisation or single point.",
    versions="3 to 6 (seen: 5.0)",
    energy="`FINAL SINGLE POINT ENERGY`, in hartree, dispersion and solvent included",
    stress="",
    proof="",
    forces="test_golden_work::test_forces_do_the_work_that_the_energy_loses",
    traps=(
        Trap("the printed gradient is minus the forces", "test_golden_long_tail::test_orca_gradient_is_that_of_a_falling_energy"),
        Trap("semi-empirical methods, coupled cluster, excited states", "test_orca::test_energies_of_other_theories_are_refused"),
        Trap("xTB, QM/MM and other programs' energies", "test_orca::test_an_output_that_names_no_method_is_not_taken_for_hartree_fock"),
        Trap("'not fully converged' behind the energy", "test_orca::test_the_last_change_tells_convergence"),
        Trap("solvent by a block of the input", "test_orca::test_solvents_fields_and_hamiltonians_of_the_input_are_in_the_level"),
        Trap("no coordinates printed", "test_orca::test_a_single_point_without_coordinates_has_those_of_its_input"),
        Trap("charges, embedding potentials and ghosts", "test_orca::test_centres_that_are_no_atoms_are_not_passed_over"),
        Trap("dummies", "test_orca::test_dummies_are_no_atoms"),
        Trap("a cut output", "test_orca::test_a_cut_output_gives_the_first_steps"),
    ),
)
_NWCHEM: Final = ReaderDoc(
    name="NWChem log",
    file="`*.nwout`, `*.out`",
    reads="Tasks of DFT with a Gaussian basis or plane waves, each level a run; those of a line search have no geometry and are counted.",
    versions="6 and 7 (seen: 6.3 to 7.0.2)",
    energy="`Total DFT energy`; `Total PSPW energy` (BAND, PAW); in hartree",
    stress="",
    proof="",
    forces="test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy",
    traps=(
        Trap("sign and unit of the forces", "test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy"),
        Trap("plane waves: lower cutoffs before", "test_nwchem::test_plane_waves_at_a_lower_cutoff_before_are_a_run_of_their_own"),
        Trap("plane waves: atoms that others moved", "test_nwchem::test_plane_waves_without_a_geometry_of_their_own_are_counted"),
        Trap("QM/MM, ONIOM, counterpoise", "test_nwchem::test_energies_of_a_part_of_the_atoms_are_refused"),
        Trap("the optimiser's energy has more in it", "test_nwchem::test_another_energy_of_the_optimiser_is_flagged"),
        Trap("restraints are in the optimiser's energy", "test_nwchem::test_springs_of_restraints_are_in_the_optimisers_energy_alone"),
        Trap("methods whose names begin alike", "test_nwchem::test_solvent_range_and_the_whole_name_of_a_method_are_in_the_level"),
        Trap("Hartree-Fock, coupled clusters, Car-Parrinello steps", "test_nwchem::test_a_log_of_other_modules_is_refused_by_name"),
        Trap(
            "a gradient of zero for atoms not computed",
            "test_nwchem::test_a_gradient_of_zero_for_atoms_that_are_not_computed_leaves_the_forces_out",
        ),
        Trap("ghost centres", "test_nwchem::test_ghosts_are_no_atoms_and_their_functions_are_of_the_level"),
        Trap("point charges around the atoms", "test_nwchem::test_energies_in_the_field_of_point_charges_are_refused"),
        Trap("several geometries in one input", "test_nwchem::test_each_task_has_the_geometry_that_its_input_names"),
        Trap("energies without a geometry", "test_nwchem::test_an_energy_of_a_line_search_has_no_geometry"),
        Trap("tasks with other bases and charges in one log", "test_golden_long_tail::test_nwchem_tasks_are_runs_of_their_own"),
        Trap("the printed gradient is minus the forces", "test_golden_long_tail::test_nwchem_gradient_is_that_of_a_falling_energy"),
        Trap("the name of a method over changed shares", "test_nwchem::test_a_functional_has_the_name_that_its_parts_make"),
        Trap("a cut output", "test_nwchem::test_a_cut_output_gives_the_first_steps"),
    ),
)

READER_DOCS: Final[tuple[ReaderDoc, ...]] = (
    _PW_STDOUT, _PW_XML, VASPRUN_DOC, OUTCAR_DOC, CP2K_DOC, _ABINIT, _SIESTA, _OPENMX, _OPENMX_MD, _FHI_AIMS,
    _CASTEP, _GPAW, _NWCHEM, _GAUSSIAN, _ORCA, ABACUS_DOC, ELK_DOC, *BINARY_DOCS, *COLLECTION_DOCS,
)  # fmt: skip
"""One record for each reader of `lake.readers.READERS`."""
