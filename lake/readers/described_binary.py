"""What is said of the readers of binary files, and of other files beside the main output of a code."""

from __future__ import annotations

from typing import Final

from lake.readers.reader_doc import ReaderDoc, Trap

_HIST: Final = ReaderDoc(
    name="ABINIT HIST.nc",
    file="`*_HIST.nc`, classic netCDF or HDF5",
    reads="All steps of moving atoms, in full digits; functional and convergence come from the text, GSR.nc or log beside it.",
    versions="7 to 10 (seen: 9.6.2)",
    energy="`etotal`, which holds -kT times the entropy",
    stress="tension positive, Ha/bohr³, in the order 11 22 33 32 31 21",
    proof="test_abinit_netcdf::test_each_file_of_a_relaxation_has_the_numbers_of_the_text",
    traps=(
        Trap("a step begun and never filled in", "test_abinit_netcdf::test_a_step_that_was_begun_and_never_filled_is_no_step"),
        Trap("several images in one file", "test_abinit_netcdf::test_several_images_are_refused"),
        Trap("a cut file", "test_abinit_netcdf::test_a_cut_hist_gives_the_first_of_the_same_steps"),
        Trap("random damage", "test_abinit_netcdf::test_random_damage_and_cuts_never_raise_anything_else"),
    ),
)
_GSR: Final = ReaderDoc(
    name="ABINIT GSR.nc",
    file="`*_GSR.nc`, HDF5 or classic netCDF",
    reads="The last ground state, in full digits; beside the text it checks it and joins the dataset of its energy.",
    versions="7 to 10 (seen: 9.6.2 and one that states no version)",
    energy="`etotal`; less `e_entropy` it is energy_internal",
    stress="tension positive, Ha/bohr³, in the order 11 22 33 32 31 21",
    proof="test_abinit_netcdf::test_each_file_of_a_relaxation_has_the_numbers_of_the_text",
    traps=(
        Trap(
            "a run without self-consistency repeats an energy", "test_abinit_netcdf::test_gsr_of_a_run_without_self_consistency_is_refused"
        ),
        Trap("several datasets of one structure", "test_abinit_netcdf::test_each_dataset_goes_with_the_file_of_its_own_energy"),
        Trap("a header without functional", "test_golden_other_codes::test_gsr_of_abinit"),
        Trap("a link to another file", "test_abinit_netcdf::test_links_out_of_a_file_are_not_followed"),
        Trap("random damage", "test_abinit_netcdf::test_random_damage_and_cuts_never_raise_anything_else"),
    ),
)
_ABINIT_LOG: Final = ReaderDoc(
    name="ABINIT log",
    file="What ABINIT prints to the screen: `log`, `*.log`",
    reads="As the main output; datasets without moving atoms print no forces there.",
    versions="7 to 10 (seen: 7.8.2, 9.6.2)",
    energy="`etotal`",
    stress="tension positive, Ha/bohr³",
    proof="test_abinit_netcdf::test_each_file_of_a_relaxation_has_the_numbers_of_the_text",
    traps=(
        Trap("no forces of datasets", "test_abinit_netcdf::test_log_of_datasets_without_moving_atoms_has_no_forces"),
        Trap("messages between the rows of a cycle", "test_abinit_netcdf::test_each_file_of_a_relaxation_has_the_numbers_of_the_text"),
    ),
)

_VASPOUT: Final = ReaderDoc(
    name="vaspout.h5",
    file="`vaspout.h5`; OSZICAR, INCAR, KPOINTS, POTCAR titles beside it",
    reads="All steps, where neither vasprun.xml nor OUTCAR is there, else it checks them. Of its POTCAR only titles, valences and cutoffs.",
    versions="6.2 to 6.6 (seen: 6.4.3, seven files of sisl-files equal to the vasprun.xml of their runs; the tests are made up)",
    energy="`free energy TOTEN`, in a dynamics `ion-electron TOTEN`, by their names in energies_tags",
    stress="compression positive, kbar, as `in kB` of the OUTCAR",
    proof="",
    traps=(
        Trap("`total energy ETOTAL` holds kinetic energy", "test_vaspout::test_dynamics_name_the_free_energy_otherwise"),
        Trap("the scale of the cell", "test_vaspout::test_the_scale_of_the_cell_counts_once"),
        Trap("ENMAX, the older name of ENCUT", "test_vaspout::test_the_older_name_of_the_cutoff_counts"),
        Trap("a stress of zeros that was not computed", "test_vaspout::test_a_stress_that_was_not_computed_is_null"),
        Trap("no cycles before 6.5, counts after", "test_vaspout::test_cycles_of_newer_versions_tell_convergence"),
        Trap("convergence before 6.5", "test_vaspout::test_an_oszicar_beside_it_tells_how_the_cycles_ended"),
        Trap("an OSZICAR of other steps", "test_vaspout::test_an_oszicar_of_other_steps_tells_nothing"),
        Trap("learned force fields and PSTRESS", "test_vaspout::test_what_the_file_does_not_tell_is_flagged"),
        Trap("GW, BSE, ACFDT", "test_vaspout::test_runs_beyond_the_ground_state_are_refused"),
        Trap("the potentials are in the file", "test_vaspout::test_the_potentials_leave_no_trace"),
        Trap("random damage", "test_vaspout::test_damage_and_cuts_of_vaspout_never_raise_anything_else"),
    ),
)
_CASTEP_TRAJECTORY: Final = ReaderDoc(
    name="CASTEP trajectory",
    file="`*.geom`, `*.md`",
    reads="All steps, in full digits; beside the .castep it checks it (which has more steps, and the level of theory).",
    versions="5 to 24 (seen: .geom of 17.2; .md made up after the CASTEP documentation)",
    energy="the first energy: that of DFT, with the constant for the finite basis where the run has one; hartree",
    stress="tension positive, Ha/bohr³; that of a .md holds the kinetic part and is left out",
    proof="test_golden_long_tail::test_geom_of_castep_agrees_with_its_castep",
    traps=(
        Trap(
            "forces with those of a thermostat",
            "test_castep_trajectory::test_forces_of_dynamics_are_taken_where_they_do_the_work_of_the_energy",
        ),
        Trap(
            "Hamiltonian and kinetic energy beside the DFT energy",
            "test_castep_trajectory::test_dynamics_take_the_first_energy_and_no_stress",
        ),
        Trap("a constant for the finite basis", "test_golden_long_tail::test_geom_of_castep_agrees_with_its_castep"),
        Trap("steps of line searches are left out", "test_golden_long_tail::test_geom_of_castep_agrees_with_its_castep"),
        Trap("a .geom of another run", "test_castep_trajectory::test_a_trajectory_of_other_energies_disagrees"),
        Trap("a cut file", "test_castep_trajectory::test_a_cut_trajectory_gives_the_first_steps"),
    ),
)
_GPAW_FILE: Final = ReaderDoc(
    name="GPAW .gpw",
    file="`*.gpw`",
    reads="The last configuration, in full digits; beside the text of the run it checks it. Files of before 2016 (tar) are refused.",
    versions="1.0 to 24 (seen: 1.1.1b1, 22.8.0)",
    energy="`results.free_energy`, relative to reference atoms; `results.energy` is energy_sigma0; less `e_entropy` it is energy_internal",
    stress="tension positive, eV/Å³, xx yy zz yz xz xy",
    proof="test_golden_long_tail::test_gpw_beside_gpaw_text_has_the_same_numbers",
    traps=(
        Trap("`energy` is the extrapolated one", "test_gpaw_file::test_reads_energies_and_tables"),
        Trap("older files have the free energy elsewhere", "test_gpaw_file::test_an_older_file_has_its_free_energy_elsewhere"),
        Trap("the word 'converged'", "test_gpaw_file::test_the_word_of_convergence_counts_where_it_says_no"),
        Trap("spinors", "test_gpaw_file::test_spinors_have_eigenvalues_of_two_dimensions"),
        Trap("random damage", "test_gpaw_file::test_damage_and_cuts_of_gpw_never_raise_anything_else"),
    ),
)

BINARY_DOCS: Final[tuple[ReaderDoc, ...]] = (_HIST, _GSR, _ABINIT_LOG, _VASPOUT, _CASTEP_TRAJECTORY, _GPAW_FILE)
