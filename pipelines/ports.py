"""TCP ports of this machine: is one free, who holds it, which are free."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass, fields, replace

import psutil  # type: ignore[import-untyped]

from schemas.errors import PortTaken, SettingsError
from schemas.settings import Settings

HOST = "127.0.0.1"
GRPC_ABOVE = 10_000
"""SeaweedFS listens for gRPC at this distance above each of its ports."""
_HAS_GRPC = frozenset({"s3_port", "master_port", "volume_port", "filer_port"})
_LOWEST, _HIGHEST = 11_000, 65_535 - GRPC_ABOVE


@dataclass(frozen=True)
class Port:
    """One port of one service, and the setting that moves it."""

    number: int
    setting: str
    """Field of StackSettings."""
    grpc: bool = False
    """The gRPC port that stands above the one that is set."""

    @property
    def variable(self) -> str:
        """Return the environment variable that moves it."""
        return f"ATOMLAKE_STACK_{self.setting.upper()}"


def ports_of(settings: Settings, *names: str) -> tuple[Port, ...]:
    """Return the ports that the named fields of StackSettings stand for, gRPC ports included.

    Raises SettingsError for a number that is no port.
    """
    found: list[Port] = []
    for name in names:
        number: int = getattr(settings.stack, name)
        highest = _HIGHEST if name in _HAS_GRPC else 65_535
        if not 1 <= number <= highest:
            raise SettingsError(f"stack.{name} is {number}, expected 1 to {highest}; set ATOMLAKE_STACK_{name.upper()}")
        found.append(Port(number, name))
        if name in _HAS_GRPC:
            found.append(Port(number + GRPC_ABOVE, name, grpc=True))
    return tuple(found)


def is_free(number: int) -> bool:
    """Tell whether a service could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError:
            return False
    return True


def holder(number: int) -> str:
    """Return who listens on a port in words, as far as this user may know."""
    try:
        listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == number]
        for connection in listening:
            if connection.pid is not None:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (process {process.pid}: {' '.join(process.cmdline())[:120]})"
    except psutil.Error:
        return "a program that this user may not see"
    return "a program of another user" if listening else "a program that this user may not see"


def check_free(service: str, ports: tuple[Port, ...]) -> None:
    """Raise PortTaken for the first port that service could not listen on."""
    for port in ports:
        if is_free(port.number):
            continue
        above = f"gRPC, {GRPC_ABOVE} above " if port.grpc else ""
        other, who = free_number((), start=port.number + 1 - (GRPC_ABOVE if port.grpc else 0)), holder(port.number)
        raise PortTaken(
            f"{service} needs port {port.number} ({above}stack.{port.setting}), but {who} listens there; stop that program, "
            f"or set another port: {port.variable}={other} atomlake up"
        )


def free_number(taken: Collection[int], *, start: int) -> int:
    """Return the first port from start upwards that is free now, with its gRPC port, and has neither of them in taken."""
    for number in range(start, _HIGHEST):
        both = (number, number + GRPC_ABOVE)
        if not any(port in taken for port in both) and all(map(is_free, both)):
            return number
    raise PortTaken(f"no free port between {start} and {_HIGHEST}; stop some programs that listen")


def with_free_ports(settings: Settings, *, keep: bool = True) -> Settings:
    """Return settings with every taken port of the stack moved to a free one; with keep=False all of them are moved.

    Where the search begins is left to chance, so that two programs that look at the same time seldom find the same ports.
    """
    stack = settings.stack
    kept = {f.name: _with_grpc(f.name, getattr(stack, f.name)) for f in fields(stack)}
    kept = {name: numbers for name, numbers in kept.items() if keep and all(map(is_free, numbers))}
    taken = {number for numbers in kept.values() for number in numbers}
    for field in fields(stack):
        if field.name not in kept:
            number = free_number(taken, start=_LOWEST + secrets.randbelow(10_000))
            taken |= {number, number + GRPC_ABOVE}
            stack = replace(stack, **{field.name: number})
    return replace(settings, stack=stack)


def _with_grpc(name: str, number: int) -> tuple[int, ...]:
    return (number, number + GRPC_ABOVE) if name in _HAS_GRPC else (number,)
