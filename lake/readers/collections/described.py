"""What is said of the readers of collections of frames, most of which do not say their units."""

from __future__ import annotations

from typing import Final

from lake.readers.reader_doc import ReaderDoc, Trap

_ASKED: Final = "the key that the depositor names, or the only one that can be it, in the units he says"

_EXTXYZ: Final = ReaderDoc(
    name="extxyz",
    file="Extended XYZ, and plain XYZ with `key=value` in its comment: `*.xyz`, `*.extxyz`",
    reads="Every frame, at its place in the file; frames of equal atoms are one calculation. Waits for units (`needs_units`).",
    versions="libAtoms, ASE, QUIP and hand-made ones",
    energy=_ASKED,
    stress="as said: unit, sign (tension positive where not said) and order of six numbers; a virial is divided by the volume",
    proof="test_collection_units::test_stress_and_virial_by_the_conventions_that_are_said",
    traps=(
        Trap("no units in the file", "test_collection_units::test_units_are_proposed_and_never_taken"),
        Trap("several energies in one file", "test_collection_units::test_of_several_energies_the_depositor_names_the_label"),
        Trap(
            "energies of tight binding or a force field",
            "test_collection_units::test_tight_binding_and_force_fields_are_no_label_until_they_are_named",
        ),
        Trap("gradients in place of forces", "test_collection_units::test_a_column_of_gradients_is_minus_the_forces"),
        Trap("parts of a force", "test_collection_units::test_parts_of_a_force_are_no_forces"),
        Trap("units that are wrong by a factor", "test_collection_units::test_grossly_wrong_units_are_flagged"),
        Trap("T32: D exponents, nan", "test_extxyz::test_t32_exponents_of_fortran_and_numbers_that_are_none"),
        Trap("T32: rows longer than Properties", "test_extxyz::test_t32_a_row_longer_than_the_columns_is_no_frame_and_is_told"),
        Trap("T32: species and a column Z", "test_extxyz::test_a_label_that_contradicts_the_atomic_number_is_no_frame"),
        Trap("quotes, brackets and cases of keys", "test_extxyz::test_keys_quotes_brackets_and_cases_of_real_files"),
        Trap("keys that change between frames", "test_extxyz::test_keys_columns_and_atoms_that_change_between_frames"),
        Trap("forces that constraints made zero (move_mask)", "test_extxyz::test_coordinates_that_ases_move_mask_holds_are_fixed"),
        Trap("a wrong number of atoms", "test_extxyz::test_a_malformed_frame_costs_only_itself"),
        Trap("no end of line behind the last row", "test_extxyz::test_a_last_row_of_free_width_without_its_end"),
        Trap("a cut file", "test_extxyz::test_any_prefix_gives_the_exact_prefix_of_the_frames"),
    ),
)
_RUNNER: Final = ReaderDoc(
    name="RuNNer input.data",
    file="`input.data` of RuNNer and n2p2",
    reads="Every structure, at its place in the file. Waits for units (`needs_units`); our own exports name theirs in their comments.",
    versions="RuNNer, n2p2",
    energy="`energy`, in the units that the depositor says",
    stress="",
    proof="",
    traps=(
        Trap("Ha and bohr in one file, eV and Å in the next", "test_golden_collections::test_units_of_n2p2s_own_examples_are_told_apart"),
        Trap("energies and forces all zero", "test_golden_collections::test_structures_without_labels"),
        Trap("a damaged structure", "test_runner_data::test_a_malformed_structure_costs_only_itself"),
        Trap("a cut file", "test_runner_data::test_any_prefix_gives_the_exact_prefix_of_the_structures"),
    ),
)
_TRAJECTORY: Final = ReaderDoc(
    name="ASE trajectory",
    file="`*.traj` in the format ulm (ASE 3.9 and newer)",
    reads="Every image with its calculator's results, fixed atoms; a file whose index is cut is read by the text of its items.",
    versions="ASE 3.9 to 3.29 (seen: 3.22, 3.29)",
    energy="ASE's `free_energy` where it is there, with `energy` as energy_sigma0; else `energy`",
    stress="tension positive, eV/Å³, by definition of ASE",
    proof="by definition of the format; what a calculator put in is that calculator's",
    traps=(
        Trap("calculators that are not DFT", "test_ase_files::test_energies_of_calculators_that_are_not_dft_are_refused"),
        Trap("forces without the constraints of the run", "test_ase_files::test_constraints_are_kept_apart_from_the_forces"),
        Trap("forces that a constraint made zero", "test_ase_files::test_forces_that_a_constraint_made_zero_are_flagged"),
        Trap("a cut file", "test_ase_files::test_a_cut_trajectory_gives_the_first_frames"),
        Trap("energies that belong to no force", "test_ase_files::test_the_free_energy_is_the_label_and_the_other_is_sigma0"),
    ),
)
_DATABASE: Final = ReaderDoc(
    name="ASE db",
    file="`*.db` of SQLite; not the MySQL or PostgreSQL kinds",
    reads="Every row with an energy; where no row has one, the numbers in `data` and key-value pairs, which wait for keys and units.",
    versions="ASE db 8 and 9 (seen: 9)",
    energy="`free_energy` where it is there, else `energy`; of other numbers that which the depositor names",
    stress="tension positive, eV/Å³, by definition of ASE",
    proof="by definition of the format; what a calculator put in is that calculator's",
    traps=(
        Trap("energies that are NULL, numbers in the data", "test_golden_collections::test_qm9_has_its_numbers_in_the_data"),
        Trap("calculators that are not DFT", "test_ase_files::test_energies_of_calculators_that_are_not_dft_are_refused"),
        Trap("a damaged database", "test_ase_files::test_damaged_bytes_never_raise_anything_else"),
    ),
)
_JSON: Final = ReaderDoc(
    name="ASE JSON db",
    file="`*.json` of `ase.db`",
    reads="As the database of SQLite; of a cut file the whole rows.",
    versions="ASE db 9 (seen: written by ASE 3.29)",
    energy="`free_energy` where it is there, else `energy`; of other numbers that which the depositor names",
    stress="tension positive, eV/Å³, by definition of ASE",
    proof="by definition of the format; what a calculator put in is that calculator's",
    traps=(
        Trap("the same numbers as the database of SQLite", "test_ase_files::test_a_database_in_json_has_what_that_of_sqlite_has"),
        Trap("a cut file", "test_ase_files::test_a_cut_database_in_json_gives_its_whole_rows"),
    ),
)
_DEEPMD: Final = ReaderDoc(
    name="DeePMD npy",
    file="A folder with `type.raw`, `type_map.raw` and `set.*/*.npy`, or `coord.raw` and the like, anywhere in a source; held in memory",
    reads="Every frame, the sets one after another; mixed systems by their types. Waits for units (`needs_units`).",
    versions="DeePMD-kit 1 to 3, dpdata",
    energy="`energy.npy`, in the units that the depositor says",
    stress="the virial is -stress times volume in the unit of the energy, by DeePMD-kit's manual",
    proof="test_deepmd_systems::test_our_export_comes_back",
    traps=(
        Trap("types without names", "test_deepmd_systems::test_types_without_names_are_asked_for"),
        Trap("mixed types with virtual atoms", "test_deepmd_systems::test_mixed_systems_part_by_their_types"),
        Trap("a box beside nopbc", "test_deepmd_systems::test_a_box_beside_nopbc_is_no_cell"),
        Trap("labels that some sets lack", "test_deepmd_systems::test_a_set_that_lacks_a_label_keeps_its_frames"),
        Trap("texts beside the sets that were made of them", "test_deepmd_systems::test_texts_beside_sets_are_passed_over"),
        Trap("files that do not fit together", "test_deepmd_systems::test_files_that_do_not_fit_together"),
    ),
)
COLLECTION_DOCS: Final[tuple[ReaderDoc, ...]] = (_EXTXYZ, _RUNNER, _TRAJECTORY, _DATABASE, _JSON, _DEEPMD)
