"""The filters of frames as options, declared once for all commands that select frames."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final, get_type_hints

import typer

from schemas.datasets import FrameQuery
from schemas.errors import QueryError

Command = Callable[..., None]


def _declared(
    elements: Annotated[str, typer.Option("--elements", "-e", help="Exactly these elements: Mg,Ca,O.")] = "",
    subsystems: Annotated[bool, typer.Option("--subsystems", "-s", help="And every subset of them: MgO, CaO, ...")] = False,
    system: Annotated[list[str] | None, typer.Option("--system", help="Element system: Mg-O; can be repeated.")] = None,
    containing: Annotated[str, typer.Option(help="At least these elements: Mg,O.")] = "",
    any_of: Annotated[str, typer.Option(help="At least one of these elements: Ca,Sr,Ba.")] = "",
    without: Annotated[str, typer.Option(help="None of these elements: H,F.")] = "",
    formula: Annotated[str, typer.Option(help="Formula in any order (OMg, Mg0.5Ca0.5O, CuSO4.5H2O), or an anonymous one (ABC3).")] = "",
    material: Annotated[str, typer.Option(help="Name of a material, in any language.")] = "",
    theory: Annotated[list[str] | None, typer.Option(help="Level of theory, or its beginning up to a '/': PBE; can be repeated.")] = None,
    code: Annotated[str, typer.Option(help="Code: qe, vasp.")] = "",
    project: Annotated[str, typer.Option(help="Project of the depositor.")] = "",
    licence: Annotated[str, typer.Option(help="Licence as the depositor gave it: CC-BY-4.0.")] = "",
    ingested: Annotated[str, typer.Option(help="Days of coming into the lake: 2026-01-01:2026-01-31, either may be missing.")] = "",
    atoms: Annotated[str, typer.Option(help="Number of atoms, or a range: 8, 1:64, 100: (100 or more).")] = "",
    energy_per_atom: Annotated[str, typer.Option(help="Range of the energy per atom, eV: -8:-5, :-5.")] = "",
    max_force: Annotated[str, typer.Option(help="No force above this, or a range of the largest force, eV/Å: 10, 0.1:10.")] = "",
    volume: Annotated[str, typer.Option(help="Range of the volume of the cell, Å³: 60:80.")] = "",
    volume_per_atom: Annotated[str, typer.Option(help="Range of the volume per atom, Å³: 8:12.")] = "",
    density: Annotated[str, typer.Option(help="Range of the density, g/cm³: 2.5:.")] = "",
    pressure: Annotated[str, typer.Option(help="Range of the pressure, eV/Å³ (1 GPa is 0.00624): -0.03:0.06.")] = "",
    flag: Annotated[list[str] | None, typer.Option(help="Only frames with this flag; can be repeated.")] = None,
    without_flag: Annotated[list[str] | None, typer.Option(help="No frames with this flag; can be repeated.")] = None,
    with_forces: Annotated[bool, typer.Option("--with-forces", help="Only frames that have forces.")] = False,
    all_frames: Annotated[bool, typer.Option("--all", help="Also frames with a disqualifying flag (not converged, ...).")] = False,
) -> FrameQuery:
    """Return the query that the options say; raises QueryError for a range that is none."""
    theories = tuple(theory or ())
    force = numbers("--max-force", max_force, single=lambda value: (None, value))
    return FrameQuery(
        elements=symbols_in(elements), subsystems=subsystems, systems=tuple(system or ()), containing=symbols_in(containing),
        any_of=symbols_in(any_of), without=symbols_in(without), formula=formula, material=material,
        theory=theories[0] if len(theories) == 1 else "", theories=theories if len(theories) > 1 else (),
        code=code, project=project, licence=licence, ingested=days("--ingested", ingested), natoms=whole_numbers("--atoms", atoms),
        energy_per_atom=numbers("--energy-per-atom", energy_per_atom), volume=numbers("--volume", volume),
        volume_per_atom=numbers("--volume-per-atom", volume_per_atom),
        max_force=force[1] if force and force[0] is None else None, largest_force=force if force and force[0] is not None else None,
        density=numbers("--density", density), pressure=numbers("--pressure", pressure), flags=tuple(flag or ()),
        without_flags=tuple(without_flag or ()), with_forces=with_forces, only_good=not all_frames,
    )  # fmt: skip


_FILTERS: Final = inspect.signature(_declared)
_HINTS: Final = get_type_hints(_declared, include_extras=True)


def with_filters(command: Command) -> Command:
    """Return a command whose first parameter, the query, is made from options for all filters, which it takes besides its own."""
    (first, *own), hints = inspect.signature(command).parameters.values(), get_type_hints(command, include_extras=True)
    filters = [p.replace(annotation=_HINTS[p.name], kind=inspect.Parameter.KEYWORD_ONLY) for p in _FILTERS.parameters.values()]
    arguments = [p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

    def wrapped(**values: Any) -> None:
        query = _declared(**{name: values.pop(name) for name in _FILTERS.parameters})
        command(**{first.name: query}, **values)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__annotations__ = {p.name: p.annotation for p in (*filters, *arguments)}
    wrapped.__signature__ = inspect.Signature([*filters, *arguments])  # type: ignore[attr-defined]
    return wrapped


def symbols_in(text: str) -> tuple[str, ...]:
    """Return the symbols in 'Mg,Ca,O', 'Mg Ca O' or 'Mg-Ca-O'."""
    return tuple(part for part in text.replace(",", " ").replace("-", " ").split() if part)


def numbers(
    option: str, text: str, single: Callable[[float], tuple[float | None, float | None]] | None = None
) -> tuple[float | None, float | None] | None:
    """Return the ends of 'LEAST:MOST', either of which may be missing; None for no text. single says what one number alone means."""
    ends = _ends(option, text, "-8:-5", alone=single is not None)
    if ends is None:
        return None
    try:
        low, high = (float(end) if end else None for end in ends)
    except ValueError as error:
        raise QueryError(f"{option} is {text!r}, expected numbers like -8:-5") from error
    return single(low) if single is not None and low is not None and ":" not in text else (low, high)


def whole_numbers(option: str, text: str) -> tuple[int | None, int | None] | None:
    """Return the ends of 'LEAST:MOST' or '8' as whole numbers; None for no text."""
    ends = _ends(option, text, "8 or 1:64", alone=True)
    if ends is None:
        return None
    if not all(end.isdigit() for end in ends if end):
        raise QueryError(f"{option} is {text!r}, expected a number or a range like 1:64")
    low, high = (int(end) if end else None for end in ends)
    return low, high if ":" in text else low


def days(option: str, text: str) -> tuple[str | None, str | None] | None:
    """Return the ends of 'FIRST:LAST' as days, or one day twice; None for no text."""
    from lake.embargoes import day_of

    ends = _ends(option, text, "2026-01-01:2026-01-31", alone=True)
    if ends is None:
        return None
    first, last = (day_of(end).isoformat() if end else None for end in ends)
    return first, last if ":" in text else first


def _ends(option: str, text: str, example: str, *, alone: bool) -> tuple[str, str] | None:
    if not text:
        return None
    low, colon, high = (part.strip() for part in text.partition(":"))
    if (not colon and not alone) or ":" in high or not (low or high):
        raise QueryError(f"{option} is {text!r}, expected a range like {example}")
    return low, high
