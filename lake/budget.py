"""What reading one source may cost, and the errors of archives that cost more, are damaged or end early."""

from __future__ import annotations

from typing import Final

from schemas.errors import UnreadableArchive
from schemas.settings import LimitSettings

RATIO_FREE_BYTES: Final = 32 * 2**20
"""Inflated bytes after which the inflate ratio is looked at."""


class Budget:
    """What reading one source has cost so far; raises UnreadableArchive('too_large') over a limit."""

    def __init__(self, limits: LimitSettings) -> None:
        self.limits = limits
        self.inflated = 0
        self.members = 0

    def spend(self, count: int) -> None:
        """Add inflated bytes."""
        self.inflated += count
        if self.inflated > self.limits.max_total_bytes:
            raise too_large(f"it unpacks to more than {self.limits.max_total_bytes} bytes", "limits.max_total_bytes")

    def add_member(self) -> None:
        """Add a member."""
        self.members += 1
        if self.members > self.limits.max_members:
            raise too_large(f"it has more than {self.limits.max_members} members", "limits.max_members")

    def check_ratio(self, inflated: int, stored: int) -> None:
        """Look at the bytes that one compressed stream has given so far."""
        if inflated > RATIO_FREE_BYTES and inflated > self.limits.max_ratio * max(1, stored):
            found = f"{stored} stored bytes unpack to {inflated} bytes or more, over {self.limits.max_ratio} for each stored byte"
            raise too_large(found, "limits.max_ratio")


def too_large(found: str, setting: str) -> UnreadableArchive:
    """Return the error of a limit that was passed."""
    return UnreadableArchive("too_large", found, f"pack only the outputs, or raise the setting {setting} if you trust the source")


def corrupt(found: str) -> UnreadableArchive:
    """Return the error of damaged data."""
    return UnreadableArchive("corrupt_archive", found, "upload it again from the original; compare checksums before and after")


def truncated(found: str) -> UnreadableArchive:
    """Return the error of data that ends early."""
    return UnreadableArchive("truncated_archive", found, "upload it again: the transfer or the packing was probably cut off")
