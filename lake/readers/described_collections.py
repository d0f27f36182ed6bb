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
        Trap("units that are wrong by a factor", "test_collection_units::test_grossly_wrong_units_are_flagged"),
        Trap("T32: D exponents, nan", "test_extxyz::test_t32_exponents_of_fortran_and_numbers_that_are_none"),
        Trap("T32: rows longer than Properties", "test_extxyz::test_t32_a_row_longer_than_the_columns_is_no_frame_and_is_told"),
        Trap("T32: species and a column Z", "test_extxyz::test_a_label_that_contradicts_the_atomic_number_is_no_frame"),
        Trap("quotes, brackets and cases of keys", "test_extxyz::test_keys_quotes_brackets_and_cases_of_real_files"),
        Trap("keys that change between frames", "test_extxyz::test_keys_columns_and_atoms_that_change_between_frames"),
        Trap("a wrong number of atoms", "test_extxyz::test_a_malformed_frame_costs_only_itself"),
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
COLLECTION_DOCS: Final[tuple[ReaderDoc, ...]] = (_EXTXYZ, _RUNNER)
