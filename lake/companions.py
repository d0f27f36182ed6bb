"""Files that are read together with an output of the same folder, and the outputs that wait for them.

Members of an archive come in any order, so an output whose reader takes companions is closed only when the source has been walked to
its end. What is held till then is limited: where there is more, the folders met first are finished with what they have.
"""

from __future__ import annotations

import itertools
import posixpath
from collections import defaultdict
from dataclasses import dataclass, field, replace

from lake.grouping import Output
from lake.readers.base import CompanionReader, ReaderSpec
from schemas.calculations import Run


@dataclass(frozen=True, eq=False)
class Waiting:
    """An output that was read to its end, and whose reader may take files beside it."""

    path: str
    spec: ReaderSpec
    reader: CompanionReader


@dataclass(frozen=True, eq=False)
class Held:
    """A file that may belong to an output of its folder."""

    path: str
    name: str
    """Base name without the ending of a compression."""
    text: bytes | None
    """None where there was no room for it."""


@dataclass(eq=False)
class Shelf:
    """What waits, and what is held for it, by folder."""

    limit: int
    """Most bytes that are held."""
    waiting: dict[str, list[Waiting]] = field(default_factory=lambda: defaultdict(list))
    held: dict[str, list[Held]] = field(default_factory=lambda: defaultdict(list))
    late: dict[str, list[Held]] = field(default_factory=lambda: defaultdict(list))
    """Files that came when outputs of their folder were finished already."""
    finished: set[str] = field(default_factory=set)
    """Folders whose outputs had to be finished early."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes held, of the folders that hold any, in the order in which they were met."""
    n_bytes: int = 0
    """Sum of the sizes, kept as they come: a source may have very many folders."""

    def wait(self, output: Waiting) -> None:
        """Keep an output till its folder is finished."""
        self.waiting[posixpath.dirname(output.path)].append(output)

    def hold(self, file: Held) -> None:
        """Keep a file till its folder is finished."""
        folder = posixpath.dirname(file.path)
        self.held[folder].append(file)
        if file.text:
            self.sizes[folder] = self.sizes.get(folder, 0) + len(file.text)
            self.n_bytes += len(file.text)
        if folder in self.finished:
            self.late[folder].append(replace(file, text=None))

    def crowded_out(self, folder: str) -> list[str]:
        """Return the folders to be finished now, so that what remains is within the limit; folder is the one just met."""
        excess = self.n_bytes - self.limit
        found: list[str] = []
        for name in itertools.chain((name for name in self.sizes if name != folder), (folder,)):
            if excess <= 0:
                break
            excess -= self.sizes.get(name, 0)
            found.append(name)
        return found

    def take(self, folder: str) -> list[Waiting]:
        """Return the outputs that wait in a folder, which wait no longer; each reader has been given the files of the folder."""
        outputs = self.waiting.pop(folder, [])
        for output in outputs:
            for file in self._for(output):
                if file.text is not None:
                    output.reader.take_companion(file.name, file.text)
        return outputs

    def used(self, output: Waiting) -> tuple[str, ...]:
        """Return the paths of the files that the closed reader of an output has used."""
        names = output.reader.companions_used
        return tuple(file.path for file in self._for(output) if file.text is not None and file.name in names)

    def release(self, folder: str) -> None:
        """Give up the texts that are held for a folder, before its outputs have all been met."""
        self.finished.add(folder)
        self.n_bytes -= self.sizes.pop(folder, 0)
        self.held[folder] = [replace(file, text=None) for file in self.held[folder]]

    def with_note(self, run: Run, output: Waiting) -> Run:
        """Return the run of an output with a note on files that there was no room for."""
        return self._noted(run, [file.path for file in self._for(output) if file.text is None])

    def with_late_note(self, output: Output) -> Output:
        """Return an output with a note on files of its folder that came too late for it."""
        accepts = output.spec.companions
        late = self.late.get(posixpath.dirname(output.path), ()) if accepts is not None else ()
        paths = [file.path for file in late if accepts is not None and accepts(file.name) and file.path not in output.companions]
        return replace(output, run=self._noted(output.run, paths)) if paths else output

    def forget(self, inside: str) -> None:
        """Drop everything from a container; inside is its path with a '/', or '' for all."""
        for shelf in (self.waiting, self.held, self.sizes):
            for folder in [name for name in shelf if f"{name}/".startswith(inside)]:
                del shelf[folder]
        self.n_bytes = sum(self.sizes.values())

    def _for(self, output: Waiting) -> list[Held]:
        """Return the files that an output's reader may take, one for each name; the order of the members does not count."""
        accepts = output.spec.companions
        files = sorted(self.held.get(posixpath.dirname(output.path), ()), key=lambda file: file.path, reverse=True)
        found = {file.name: file for file in files if file.path != output.path and accepts is not None and accepts(file.name)}
        return sorted(found.values(), key=lambda file: file.path)

    def _noted(self, run: Run, paths: list[str]) -> Run:
        if not paths:
            return run
        words = f"{', '.join(paths[:3])}{' and others' if len(paths) > 3 else ''} beside the output would pass"
        return replace(run, notes=(*run.notes, f"{words} limits.max_companion_bytes = {self.limit} and could not be used"))
