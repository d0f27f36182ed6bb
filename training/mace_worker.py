"""A MACE model behind standard input and output; run by the Python of the environment that has mace-torch, which needs nothing of ours.

`python mace_worker.py MODEL`. Each message is its length (8 bytes, little-endian) and an npz archive. The worker begins with what the model
is; then each request holds frames (offsets, numbers, positions, cell, pbc) and is answered by energy, forces and stress (eV, eV/Å, eV/Å³,
tension positive; NaN for frames that are not periodic along three axes), or by error. It ends when its input does.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Mapping
from typing import IO, Any

import numpy as np


def read_message(stream: IO[bytes]) -> dict[str, Any] | None:
    """Return the arrays of the next message, or None at the end."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    with np.load(io.BytesIO(stream.read(int.from_bytes(head, "little")))) as stored:
        return dict(stored)


def write_message(stream: IO[bytes], **arrays: Any) -> None:
    """Write arrays as one message."""
    body = io.BytesIO()
    np.savez(body, **arrays)
    stream.write(len(body.getvalue()).to_bytes(8, "little") + body.getvalue())
    stream.flush()


def open_model(file: str) -> tuple[Any, dict[str, Any]]:
    """Return the ASE calculator of a model in double precision, and what it is."""
    import torch
    from mace import __version__
    from mace.calculators import MACECalculator

    torch.set_num_threads(1)
    calculator = MACECalculator(model_paths=file, device="cpu", default_dtype="float64")
    model = calculator.models[0]
    about = {
        "numbers": np.array(calculator.z_table.zs, dtype=np.int64),
        "cutoff": np.float64(calculator.r_max),
        "parameters": np.int64(sum(parameter.numel() for parameter in model.parameters())),
        "software": np.array([f"mace-torch={__version__}", f"torch={torch.__version__}"]),
    }
    return calculator, about


def predict(calculator: Any, frames: Mapping[str, Any]) -> dict[str, Any]:
    """Return energy, forces and stress of all frames."""
    from ase import Atoms

    energy, forces, stress = [], [], []
    for frame in range(len(frames["offsets"]) - 1):
        atoms = slice(frames["offsets"][frame], frames["offsets"][frame + 1])
        periodic = frames["pbc"][frame]
        structure = Atoms(frames["numbers"][atoms], frames["positions"][atoms], cell=frames["cell"][frame], pbc=periodic)
        calculator.calculate(structure)
        energy.append(calculator.results["energy"])
        forces.append(calculator.results["forces"])
        known = calculator.results.get("stress") if periodic.all() else None
        stress.append(np.full((3, 3), np.nan) if known is None else np.asarray(known)[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]])
    return {
        "energy": np.array(energy, dtype=np.float64),
        "forces": np.concatenate([np.zeros((0, 3)), *forces]).astype(np.float64),
        "stress": np.array(stress, dtype=np.float64).reshape(-1, 3, 3),
    }


def main() -> None:
    """Answer until the input ends; what others print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    try:
        calculator, about = open_model(sys.argv[1])
    except Exception as error:  # noqa: BLE001 (the other side raises it)
        write_message(answers, error=np.array(f"{type(error).__name__}: {error}"))
        return
    write_message(answers, **about)
    while (frames := read_message(sys.stdin.buffer)) is not None:
        try:
            found = predict(calculator, frames)
        except Exception as error:  # noqa: BLE001 (the other side raises it)
            found = {"error": np.array(f"{type(error).__name__}: {error}")}
        write_message(answers, **found)


if __name__ == "__main__":
    main()
