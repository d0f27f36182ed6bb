"""Memory that a process has freed, kept for what it reads next."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Final

_MAPPED_FROM: Final = 4 << 20
"""Blocks of fewer bytes come out of memory that the process has already."""
_KEPT: Final = 16 << 20
"""More freed bytes than this at the end of its memory go back to the system."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3), as in malloc.h of the GNU C library."""


@cache
def recycle_memory() -> bool:
    """Let this process keep what it frees, up to 16 MiB, and return whether that could be set.

    A worker reads one source after the other, each into buffers of some 100 KiB. By default the GNU C library returns such a block to
    the system when it is freed, and the next one is mapped and cleared page by page anew. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_parameter = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    values = ((_MMAP_THRESHOLD, _MAPPED_FROM), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _MAPPED_FROM))
    done = [set_parameter(parameter, value) for parameter, value in values]
    return all(each == 1 for each in done)
