"""`python -m training.worker FOLDER`: one process of a training run; Lightning, or a cluster's launcher, starts the others alike."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from training.fit import fit


def main(arguments: list[str]) -> None:
    """Train in the folder; with --with-parent end when the process that started this one does."""
    if "--with-parent" in arguments:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    fit(Path(next(argument for argument in arguments if not argument.startswith("--"))))


def _end_with_parent() -> None:
    # The parent holds the other end of our input and writes nothing: it closes when the parent ends, however that happens.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
