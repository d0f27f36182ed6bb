"""Any prefix of a real output gives the exact prefix of its frames, and says that it is cut."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from lake.feeding import closed
from lake.readers import find_reader
from schemas.calculations import Run
from schemas.sources import Rejection

pytestmark = pytest.mark.shared
FILES = (
    "qe/qe-suite-vc-relax2", "qe/qe-suite-b3lyp-o", "cp2k/geo-opt-v2024.3", "cp2k/h2o-geo-opt", "siesta/si-default",
    "fhi-aims/si-geomopt", "castep/si8-md-npt", "abinit/fe-two-datasets", "abacus/cell-relax", "nwchem/geometry-opt",
    "gaussian/methane-g16", "openmx/aln-relax", "orca/dvb-gopt-v5.0", "vasp/si-relax-nelm-breach-partial", "vasp/si-ionic-unfinished",
)  # fmt: skip
ARRAYS = ("step", "cell", "positions", "energy", "forces", "stress", "energy_internal", "scf_converged", "n_scf_steps")


def read(name: str, text: bytes) -> tuple[Run, ...]:
    """Return the runs of a text, none where it is refused."""
    spec = find_reader(name, text[:65536])
    if spec is None or spec.name.endswith(".md"):
        return ()
    reader = spec.open()
    reader.feed(text)
    runs = closed(name, spec, reader)
    if isinstance(runs, Rejection):
        assert runs.reason != "reader_failed", runs.detail
        return ()
    return runs


@pytest.mark.parametrize("case", FILES)
def test_any_prefix_gives_the_exact_prefix_of_the_frames(shared: Path, case: str) -> None:
    chance, compared = random.Random(case), 0
    for file in sorted(path for path in (shared / "dft" / case).rglob("*") if path.is_file() and path.stat().st_size < 1_500_000):
        data = file.read_bytes()
        text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        whole = read(file.name.removesuffix(".gz"), text) if len(text) < 4_000_000 else ()
        for _ in range(6 if whole else 0):
            runs = read(file.name.removesuffix(".gz"), text[: chance.randrange(len(text) - 200)])
            assert len(runs) <= len(whole)
            for k, (part, full) in enumerate(zip(runs, whole, strict=False)):
                compared += 1
                for name in ARRAYS:
                    np.testing.assert_array_equal(
                        getattr(part.frames, name), getattr(full.frames, name)[: part.frames.count], err_msg=file.name
                    )
                assert part.frames.count <= full.frames.count
                if k + 1 == len(runs):
                    assert "truncated" in part.flags or part.frames.count == full.frames.count
    assert compared
