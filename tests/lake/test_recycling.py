"""A worker keeps the memory that it frees: the next source is not given fresh pages for what the last one had."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from lake.recycling import recycle_memory

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in rounds:
        bytearray(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

sizes = [600_000 + 8192 * k for k in range(40)]
plain = faults(sizes)
assert recycle_memory()
faults(sizes)
print(plain, faults(sizes))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory of other C libraries is left as it is")
def test_freed_memory_is_used_again() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    plain, kept = map(int, run.stdout.split())
    assert plain > 40 * 100
    assert kept < plain / 20
