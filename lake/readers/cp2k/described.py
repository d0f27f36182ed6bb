"""What is said of the reader of CP2K."""

from __future__ import annotations

from typing import Final

from lake.readers.reader_doc import ReaderDoc, Trap

CP2K_DOC: Final = ReaderDoc(
    name="CP2K log",
    file="The log, with `PROJECT-pos-N.xyz`, `PROJECT-frc-N.xyz`, `PROJECT-N.cell`, its input and `PROJECT-N.restart` of its folder",
    reads="Evaluations with a geometry: the log prints positions of the first, as a rule; the trajectories have those of the others."
    " At PRINT_LEVEL LOW the log prints none: atoms, cell and level of theory are then from its input (with what that includes) or restart"
    " file, positions from the trajectory, by the energies that both print, or for a single point from the input, if"
    " the overlap of the cores at them is the printed one."
    " `PROJECT-1_0.xyz` has"
    " the forces of such a point.",
    versions="2.6 to 2025 (seen: 2.6.2, 5.1, 6.1, 7.1, 8.2, 2022.1, 2023.1, 2024.3)",
    energy="`ENERGY| Total FORCE_EVAL`, in which -TS is contained; less the printed electronic entropic energy it is energy_internal",
    stress="compression positive, in the unit that is printed beside it",
    proof="test_stress_derivative::test_stress_is_the_strain_derivative_of_the_energy",
    forces="test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy",
    traps=(
        Trap("which energy the forces belong to", "test_stress_derivative::test_the_energy_is_the_free_energy"),
        Trap("T26: layouts and units of 2.6 to 2025", "test_cp2k::test_reads_what_is_printed"),
        Trap("T26: a step in the log that the trajectory lacks", "test_cp2k::test_a_restart_evaluates_a_step_that_the_trajectory_lacks"),
        Trap("T26: the word 'converged'", "test_cp2k::test_convergence_is_judged_by_the_last_accuracy"),
        Trap("a trajectory of another run", "test_cp2k::test_a_trajectory_of_another_run_is_not_used"),
        Trap("metadynamics, walls, PLUMED: a bias in the forces", "test_cp2k::test_forces_of_a_biased_dynamics_hold_the_bias"),
        Trap(
            "several trajectories in one folder", "test_companions::test_of_several_candidates_that_of_the_project_of_the_log_comes_first"
        ),
        Trap("any order of the members", "test_companions::test_any_order_of_the_members_gives_the_same_calculation"),
        Trap("forces on fixed atoms are printed as zero", "test_cp2k::test_forces_of_fixed_atoms_are_printed_as_zero"),
        Trap("zero forces of fixed atoms in a trajectory", "test_cp2k_altered::test_zero_forces_of_fixed_atoms_in_a_trajectory"),
        Trap("one component of an atom is fixed", "test_cp2k_altered::test_a_single_component_may_be_fixed"),
        Trap("restraints are in energies and forces", "test_cp2k_altered::test_restraints_are_in_energies_and_forces"),
        Trap("outer potentials that the log is silent on", "test_cp2k_altered::test_potentials_that_only_the_input_tells_of"),
        Trap("excited states, propagation in time", "test_cp2k_altered::test_energies_that_are_not_of_the_ground_state"),
        Trap("fields, solvents, MP2 and RPA", "test_cp2k_altered::test_fields_solvents_and_correlation_are_in_the_level_of_theory"),
        Trap("ghost atoms", "test_cp2k_altered::test_ghost_atoms_are_no_atoms"),
        Trap("an input of another run beside the log", "test_cp2k_low::test_an_input_that_may_be_of_another_structure_is_not_used"),
        Trap("coordinates beside the log that were changed", "test_cp2k_low::test_the_overlap_of_the_cores_shows_places_of_another_run"),
        Trap("coordinates of a restart file are of another step", "test_cp2k_low::test_places_behind_a_step_are_those_of_no_single_point"),
        Trap("a trajectory in bohr, forces in eV/Å", "test_cp2k_low::test_units_of_trajectories_are_those_of_the_input"),
        Trap("... where no input tells of it", "test_cp2k_low::test_a_trajectory_in_bohr_is_known_by_the_places_that_the_log_prints"),
        Trap("cells that the log does not print", "test_cp2k_low::test_a_cell_that_changes_is_that_of_the_cell_file"),
        Trap("a file of forces that two runs wrote to", "test_cp2k_low::test_tables_that_a_single_point_wrote_beside_its_log"),
        Trap("force fields and semi-empirical methods", "test_cp2k::test_energies_that_are_not_of_dft_are_refused"),
        Trap("several runs in one log", "test_cp2k::test_two_runs_in_one_log"),
        Trap("a cut log", "test_cp2k::test_a_cut_log_gives_the_first_steps"),
    ),
)
