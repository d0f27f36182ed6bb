"""Elements of atoms from their labels: symbols, symbols with a mark behind ('Fe1', 'O_a'), atomic numbers."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from schemas.elements import NUMBERS, SYMBOLS

_LABEL = re.compile(rb"([A-Za-z]{1,2})(?:[0-9_\-.:+*'].*)?\Z")


def number_of(label: bytes) -> int:
    """Return the atomic number that a label stands for, 0 for none."""
    if label.isdigit():
        number = int(label)
        return number if 0 < number < len(SYMBOLS) else 0
    found = _LABEL.match(label)
    return NUMBERS.get(found.group(1).decode().capitalize(), 0) if found is not None else 0


def numbers_of(labels: NDArray[np.bytes_]) -> NDArray[np.int16]:
    """Return the atomic numbers of labels, in the shape of these; 0 for a label that is no element."""
    codes = np.ascontiguousarray(labels).view(np.uint64).reshape(labels.shape)
    kinds, index = np.unique(codes, return_inverse=True)
    numbers = np.array([number_of(kind.tobytes().strip(b"\0")) for kind in kinds], dtype=np.int16)
    return np.asarray(numbers[index].reshape(labels.shape))
