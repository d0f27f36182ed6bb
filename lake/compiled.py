"""C sources made into libraries by the machine's own compiler when they are first needed, and kept for the next process."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from schemas.settings import cache_folder

COMPILE_SECONDS: Final = 120

_LOG = logging.getLogger(__name__)


def library(name: str, source: str, flags: Sequence[str]) -> ctypes.CDLL | str:
    """Return the library that a C source makes, from its file where it was made before, or else why there is none.

    name is for the log alone; the file is found again by source, flags, compiler and processor.
    """
    compiler = next((path for each in ("cc", "gcc", "clang") if (path := shutil.which(each))), None)
    if compiler is None:
        return "there is no C compiler on this machine (cc, gcc or clang)"
    file = _folder() / f"{hashlib.sha256(f'{source}{tuple(flags)}{compiler}{_processor()}'.encode()).hexdigest()[:32]}.so"
    try:
        if not file.is_file():
            _compile([compiler, *flags], source, file)
            _LOG.info("compiled %s into %s", name, file)
        return ctypes.CDLL(str(file))
    except subprocess.CalledProcessError as error:
        return f"{compiler} failed: {error.stderr.decode(errors='replace').strip().splitlines()[-1:]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the compiled kernel could not be made or loaded: {error}"


def _compile(command: Sequence[str], source: str, file: Path) -> None:
    """Write the library in one step, so that many processes may do so at once."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        part = Path(folder) / "library.so"
        subprocess.run(
            [*command, "-x", "c", "-", "-o", str(part), "-lm"],
            input=source.encode(),
            check=True,
            capture_output=True,
            timeout=COMPILE_SECONDS,
        )
        part.replace(file)


def _folder() -> Path:
    """Return where libraries are kept: in the user's cache, or else in a private folder of temporary files."""
    try:
        folder = cache_folder() / "compiled"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="atomlake-compiled-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="atomlake-compiled-"))


@cache
def _processor() -> str:
    """Return what the code is made for: another processor with the same home needs its own."""
    flags = ""
    if Path("/proc/cpuinfo").is_file():
        flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {sysconfig.get_platform()} {flags}"
