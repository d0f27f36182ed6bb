"""What one source is found to hold, file by file: outputs go to their readers, inputs and companions wait for them, the rest is told."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from lake.archives import ARCHIVE_NAME, File, Found, Withdrawn
from lake.collections.depositor import SUFFIX, Descriptions, settle
from lake.collections.depositor import Waiting as Unanswered
from lake.collections.gathering import gathered
from lake.collections.records import Collection, gathers
from lake.companions import Held, Shelf, Waiting
from lake.feeding import Fed, closed, our_fault
from lake.grouping import Output
from lake.metadata import FILE_NAMES, MAX_BYTES, parse_metadata, together
from lake.readers import find_reader
from lake.readers.base import PushReader, ReaderSpec, takes_companions
from lake.readers.collections.deepmd import DEEPMD_NPY, Systems, folder_of, read_system
from lake.readers.openmx.given import OpenmxInput, read_given, recognises_input
from lake.readers.unread import UnreadOutput, unread_output
from lake.readers.vasp.inputs import VaspInput, input_kind, read_input
from schemas.errors import UnreadableArchive, UnreadableOutput
from schemas.settings import LimitSettings
from schemas.sources import Rejection

PROMISING: Final = re.compile(
    r"(OUTCAR([._-].*)?|vasprun([._-].*)?\.xml([._-].*)?|data-file-schema.*\.xml|pw\.out|pwscf\.out|espresso\.out|.*\.pwo"
    r"|.*\.castep|.*\.abo|aims\.out|INFO\.OUT|running_(scf|relax|cell-relax|md)\.log|.*\.nwo(ut)?|vaspout.*\.h5|.*_(GSR|HIST)\.nc|.*\.gpw)$",
    re.IGNORECASE,
)
"""Names that promise an output of a DFT code that is read."""
_MAGICS: Final = (
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x80\x04\x95", "a pickle of Python, which is never opened"),
    (b"\xff\xfe", "UTF-16: write it again as UTF-8"),
    (b"\x89HDF\r\n", "HDF5 of a program that is not known"),
)
"""How files begin that people send, and what they are."""
_OF_VASP: Final = re.compile(
    r"(POSCAR|CONTCAR|XDATCAR|CHG|CHGCAR|AECCAR\d|WAVECAR|DOSCAR|EIGENVAL|PROCAR|LOCPOT|ELFCAR|IBZKPT|PCDAT|OSZICAR)"
)
_NAMED: Final = 5
"""Files that are named where a source holds no output."""
REJECTIONS_OF_A_KIND: Final = 200
"""More rejections of one source for one reason are summed up in one."""


@dataclass(eq=False)
class Collected:
    """What was found in a source so far."""

    readers: Sequence[ReaderSpec]
    limits: LimitSettings
    outputs: list[Output] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    n_rejections: Counter[str] = field(default_factory=Counter)
    """How many there were of each reason; a hostile archive must not fill the memory with them."""
    metadata: dict[str, str] = field(default_factory=dict)
    digests: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Length and CRC-32 of the files that were read, by path."""
    inputs: dict[str, VaspInput | OpenmxInput] = field(default_factory=dict)
    """Input files of VASP and OpenMX, by path."""
    descriptions: Descriptions = field(default_factory=Descriptions)
    collections: list[tuple[str, ReaderSpec, Collection, tuple[str, ...]]] = field(default_factory=list)
    """Files without units, by path: labelled when all descriptions of the source have been met; the last are files read with it."""
    waiting: list[Unanswered] = field(default_factory=list)
    structures: list[Rejection] = field(default_factory=list)
    """Files of frames that hold no energies."""
    systems: Systems = field(init=False)
    shelf: Shelf = field(init=False)
    companions: tuple[Callable[[str], bool], ...] = field(init=False)
    """What the readers that take files beside an output ask of their names."""
    passed_over: list[str] = field(default_factory=list)
    """What the first files are that are no outputs, in words."""
    n_files: int = 0
    n_bytes: int = 0

    def __post_init__(self) -> None:
        self.companions = _asking(tuple(self.readers))
        self.shelf = Shelf(self.limits.max_companion_bytes)
        self.systems = Systems(self.limits.max_in_memory_bytes)

    def take(self, found: Found) -> None:
        """Read a file, keep a rejection, or forget what is not to be believed."""
        if isinstance(found, Rejection):
            self.reject(found)
        elif isinstance(found, Withdrawn):
            inside = f"{found.path}/" if found.path else ""
            self.outputs = [output for output in self.outputs if not output.path.startswith(inside)]
            self.n_rejections.subtract(each.reason for each in self.rejections if each.member.startswith(inside))
            self.rejections = [each for each in self.rejections if not each.member.startswith(inside)]
            self.shelf.forget(inside)
            self.inputs = {path: given for path, given in self.inputs.items() if not path.startswith(inside)}
            self.metadata = {} if not inside else self.metadata
            self.descriptions.forget(inside)
            self.systems.forget(inside)
            self.collections = [each for each in self.collections if not each[0].startswith(inside)]
        else:
            self.n_files += 1
            self._file(found)

    def reject(self, rejection: Rejection) -> None:
        """Keep a rejection, or count it where there are many of its reason."""
        self.n_rejections[rejection.reason] += 1
        if self.n_rejections[rejection.reason] <= REJECTIONS_OF_A_KIND:
            self.rejections.append(rejection)

    def finish(self) -> None:
        """Close the outputs that wait for files beside them, and put all outputs into the order in which they were met."""
        for folder in list(self.shelf.waiting):
            self._close_folder(folder)
        self._settle()
        order = {path: n for n, path in enumerate(self.digests)}
        self.outputs.sort(key=lambda output: order[output.path])
        self.outputs = [self.shelf.with_late_note(output) for output in self.outputs]
        taken = {path for output in self.outputs for path in output.companions}
        self.rejections = [each for each in self.rejections if each.member not in taken or each.reason == "duplicate_member"]

    def nothing_read(self) -> Rejection:
        """Return the rejection of a source that has no output: what its files are, and where it is told which are read."""
        count = "1 file" if self.n_files == 1 else f"{self.n_files} files"
        first = ", ".join(self.passed_over) + (", ..." if self.n_files > len(self.passed_over) else "")
        verdict = "which is no output that is read" if self.n_files == 1 else "none of them an output that is read"
        found = f"{count}, {verdict}{f': {first}' if self.passed_over else ''}"
        remedy = "add the output of the code (of VASP vasprun.xml or OUTCAR, say), not only its inputs; docs/readers.md lists what is read"
        return Rejection("", "no_calculation", found, remedy)

    def _pass_over(self, file: File, what: str = "") -> None:
        """Note what a file is that is no output, for the case that nothing is one; only the first files are looked at."""
        if len(self.passed_over) >= _NAMED:
            return
        name = file.name if file.name.isprintable() else ascii(file.name)
        if not what and _OF_VASP.fullmatch(file.name):
            what = "a file of VASP without labels"
        self.passed_over.append(f"{name} ({what or (f'it begins with {_beginning(file.head)}' if file.head else '0 bytes')})")

    def _settle(self) -> None:
        """Make outputs of the files without units; one that belongs to an output of its folder is none of its own."""
        used = {path for output in self.outputs for path in output.companions}
        for path, spec, collection, files in [*self.collections, *self._systems()]:
            if path in used:
                continue
            try:
                found = settle(path, collection, self.descriptions)
            except Exception as error:  # noqa: BLE001 the edge of a reader: its fault must not cost the other members
                self.reject(our_fault(path, f"labelling the frames of {spec.name}", error))
                continue
            self.outputs += [Output(path, spec, run, files) for run in found.runs]
            self.waiting += [] if found.waiting is None else [found.waiting]
            if found.rejection is not None and found.unlabelled:
                self.structures.append(found.rejection)
            elif found.rejection is not None:
                self.reject(found.rejection)

    def _systems(self) -> Iterator[tuple[str, ReaderSpec, Collection, tuple[str, ...]]]:
        """Yield the DeePMD systems of the source, each by the path of its types."""
        for folder in sorted(self.systems.crowded):
            words = f"a DeePMD system that would pass limits.max_in_memory_bytes = {self.limits.max_in_memory_bytes}"
            self.reject(Rejection(folder, "too_large", words, "raise that setting, or deposit its sets by themselves"))
        for folder, held in self.systems.whole():
            if folder in self.systems.crowded:
                continue
            path = f"{folder}/type.raw" if folder else "type.raw"
            self.digests.setdefault(path, (0, 0))
            try:
                collection = read_system(held, self.descriptions.of(path).keys.type_map)
            except UnreadableOutput as error:
                self.reject(Rejection(path, error.reason, error.detail, error.remedy))
                continue
            yield path, DEEPMD_NPY, collection, tuple(f"{folder}/{name}" if folder else name for name in sorted(held) if name != "type.raw")

    def _close_folder(self, folder: str) -> None:
        for waiting in self.shelf.take(folder):
            runs = closed(waiting.path, waiting.spec, waiting.reader)
            if isinstance(runs, Rejection):
                self.reject(runs)
                continue
            used = self.shelf.used(waiting)
            self.outputs += [Output(waiting.path, waiting.spec, self.shelf.with_note(run, waiting), used) for run in runs]

    def _file(self, file: File) -> None:
        if file.name in FILE_NAMES or file.name.endswith(SUFFIX):
            self._depositor(file)
            return
        if folder_of(file.path) is not None:
            fed = Fed(file, None, replace(self.limits, max_companion_bytes=self.limits.max_in_memory_bytes), keep=True)
            fed.read()
            self.n_bytes += fed.size
            if not fed.broken:
                self.systems.add(file.path, fed.text)
            return
        name, head = file.name, file.head
        spec = find_reader(name, head, self.readers)
        may_be_companion = self._may_be_companion(name, spec)
        if spec is None and (not may_be_companion or recognises_input(file.head)):
            kind = input_kind(file.name)
            if kind or recognises_input(file.head):
                self._input(file, kind)
            elif not file.is_cut():
                self._unknown(file)
            return
        fed = Fed(file, None if file.path in self.digests else spec, self.limits, keep=may_be_companion)
        result = fed.read()
        self.n_bytes += fed.size
        if fed.broken:
            return
        digest, known = (fed.size, fed.crc), file.path in self.digests
        if may_be_companion and not known:
            self._hold(Held(file.path, file.name, fed.text))
        if self.digests.setdefault(file.path, digest) != digest:
            words = "another member of this name came before it, with other bytes"
            self.reject(Rejection(file.path, "duplicate_member", words, "give each file its own name and upload again"))
        elif isinstance(result, Rejection):
            self.reject(result)
        elif spec is not None and result is not None:
            self._take_fed(file.path, spec, result)

    def _input(self, file: File, kind: str) -> None:
        """Read an input file of VASP, or without a kind of OpenMX; one that is cut is passed over: a Rejection of its archive says so."""
        self._pass_over(file, f"an input of {'VASP' if kind else 'OpenMX'}")
        with suppress(UnreadableArchive):
            given = read_input(file.path, kind, file.chunks()) if kind else read_given(file.path, file.chunks())
            if given is not None:
                self.inputs.setdefault(file.path, given)

    def _may_be_companion(self, name: str, spec: ReaderSpec | None) -> bool:
        """Return whether some reader may take a file beside its output; what takes such files itself is none."""
        if spec is not None and spec.companions is not None:
            return False
        return _one_accepts(self.companions, name)

    def _hold(self, held: Held) -> None:
        folder = posixpath.dirname(held.path)
        self.shelf.hold(held)
        for crowded in self.shelf.crowded_out(folder):
            self._close_folder(crowded)
            self.shelf.release(crowded)

    def _take_fed(self, path: str, spec: ReaderSpec, reader: PushReader) -> None:
        """Close a reader that has all its bytes, or let it wait for the files beside it."""
        if spec.companions is not None and takes_companions(reader):
            self.shelf.wait(Waiting(path, spec, reader))
            return
        if gathers(reader):
            collection = gathered(path, spec.name, reader)
            if isinstance(collection, Rejection):
                self.structures.append(collection) if collection.reason == "no_complete_step" else self.reject(collection)
            else:
                self.collections.append((path, spec, collection, ()))
            return
        runs = closed(path, spec, reader)
        if isinstance(runs, Rejection):
            self.reject(runs)
        else:
            self.outputs += [Output(path, spec, run) for run in runs]

    def _unknown(self, file: File) -> None:
        """Reject a file that no reader knows where its name promises more."""
        if ARCHIVE_NAME.search(file.path):
            words = f"it begins with {_beginning(file.head)}, which is no archive"
            member = "" if file.is_source else file.path
            self.reject(Rejection(member, "not_an_archive", words, "look at the file: a failed download is often an HTML page"))
        elif (known := unread_output(file.name, file.head)) is not None:
            self._unread(file.path, known)
        elif not _promises(file.name):
            self._pass_over(file)
        elif not file.head:
            self.reject(Rejection(file.path, "unreadable_output", "0 bytes", "upload it again if the run went on"))
        else:
            words = f"no reader knows it; it begins with {_beginning(file.head)}"
            self.reject(Rejection(file.path, "unknown_format", words, "look whether it is the output of the run"))

    def _unread(self, path: str, known: UnreadOutput) -> None:
        """Tell of an output that is not read; one that is not of DFT, as dynamics that chose structures, only where nothing else is."""
        rejection = Rejection(path, known.reason, f"an output of {known.what}, which is not read", known.remedy)
        if known.reason != "not_dft":
            self.reject(rejection)
        elif len(self.structures) < REJECTIONS_OF_A_KIND:
            self.structures.append(rejection)

    def _depositor(self, file: File) -> None:
        text = b""
        try:
            for chunk in file.chunks():
                text += chunk
                if len(text) > MAX_BYTES:
                    break
            said = parse_metadata(text)
            self.descriptions.add(file.path, said)
            if not file.name.endswith(SUFFIX):
                self.metadata = together(said, self.metadata)
        except UnreadableArchive:
            return
        except UnreadableOutput as error:
            self.reject(Rejection(file.path, error.reason, error.detail, error.remedy))


@lru_cache(maxsize=16)
def _asking(readers: tuple[ReaderSpec, ...]) -> tuple[Callable[[str], bool], ...]:
    """Return what the readers that take files beside an output ask of their names."""
    return tuple(each.companions for each in readers if each.companions is not None)


@lru_cache(maxsize=1024)
def _one_accepts(accepting: tuple[Callable[[str], bool], ...], name: str) -> bool:
    """Return whether one of some questions about a name is answered with yes; the same few names come again and again."""
    return any(accepts(name) for accepts in accepting)


@lru_cache(maxsize=1024)
def _promises(name: str) -> bool:
    """Return whether a name is that of an output of a DFT code; the names of one campaign's files come again in all its runs."""
    return PROMISING.match(name) is not None


def _beginning(head: bytes) -> str:
    """Return in words what some bytes are."""
    start = head[:512].lstrip()
    if start[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return next((words for magic, words in _MAGICS if head.startswith(magic)), repr(head[:32]))
