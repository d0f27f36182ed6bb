"""Values of symmetry functions for many atoms at once: pairs on edges, triplets on pairs of edges of one centre."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from schemas.elements import NUMBERS
from training.batch import Batch
from training.potentials.acsf.cutoffs import compact_function, cutoff_function, split_subtype
from training.potentials.acsf.functions import COMPACT, NARROW, RADIAL, SymmetryFunction

ROW: Final = 64
"""Triplets that are summed by one product of matrices."""


@dataclass(frozen=True, eq=False)
class Environments:
    """Some atoms with what surrounds them."""

    species: Tensor
    """(atoms,)"""
    centre: Tensor
    """(edges,) place among the atoms, sorted."""
    neighbour_species: Tensor
    """(edges,)"""
    vectors: Tensor
    """(edges, 3) Å, from centre to neighbour."""


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of one kind in the unit of the functions: what triplets are made of."""

    centre: Tensor
    """(edges,) place among the centres of one element, sorted."""
    distance: Tensor
    """(edges,)"""
    direction: Tensor
    """(3, edges) unit vectors."""
    number: Tensor
    """(edges,) atomic number of the neighbour."""

    def pick(self, chosen: Tensor) -> Edges:
        """Return the chosen edges."""
        places = chosen.nonzero()[:, 0]
        return Edges(
            self.centre[places], self.distance.index_select(0, places), self.direction.index_select(1, places), self.number[places]
        )


@dataclass(frozen=True)
class Group:
    """Functions of one centre that share neighbours and kind: each is a radial times an angular part, summed."""

    neighbours: tuple[int, ...]
    """Species of the neighbours, sorted; none for all, weighted by atomic number."""
    reach: float
    """Largest cutoff."""
    compact: bool
    narrow: bool
    radial: tuple[tuple[float, float, float, str], ...]
    """Distinct radial parts: cutoff, eta, shift and '', or cutoff, inner end, 0 and subtype."""
    angular: tuple[tuple[float, float, str], ...]
    """Distinct angular parts: lambda, zeta and '', or left, right and core; none for radial functions."""
    parts: tuple[tuple[int, int], ...]
    """Radial and angular part of each function."""
    columns: tuple[int, ...]
    """Place of each function among those of its centre."""


class SymmetryFunctions:
    """The symmetry functions of all elements; they have no weights."""

    def __init__(
        self, elements: Sequence[str], functions: Sequence[SymmetryFunction], *, cutoff_type: int, alpha: float, length_unit: float
    ) -> None:
        self.cutoff_type, self.alpha, self.length_unit = cutoff_type, alpha, length_unit
        self.numbers = tuple(NUMBERS[symbol] for symbol in elements)
        by_element = [[function for function in functions if function.centre == symbol] for symbol in elements]
        self.sizes = tuple(len(own) for own in by_element)
        self.groups = tuple(_groups(own, elements) for own in by_element)

    def __call__(self, environments: Environments) -> list[tuple[Tensor, Tensor]]:
        """Return for each element its atoms (n,) and their functions (n, size) in the order of the set."""
        vectors = environments.vectors / self.length_unit
        distance = vectors.square().sum(dim=1).clamp(min=1e-24).sqrt()
        number = torch.tensor(self.numbers, device=vectors.device)[environments.neighbour_species]
        everything = Edges(environments.centre, distance, (vectors / distance[:, None]).T, number)
        found = []
        for species, groups in enumerate(self.groups):
            mine = environments.species == species
            own = everything.pick(mine[environments.centre])
            local = dataclasses.replace(own, centre=(mine.cumsum(0) - 1)[own.centre])
            count = int(mine.sum())
            kinds: dict[tuple[int | None, float], Edges] = {}
            values = [self._group(group, local, kinds, count) for group in groups] or [vectors.new_zeros((count, 0))]
            columns = [column for group in groups for column in group.columns]
            order = torch.tensor(columns, dtype=torch.int64, device=vectors.device).argsort()
            found.append((mine.nonzero()[:, 0], torch.cat(values, dim=1).index_select(1, order)))
        return found

    def _group(self, group: Group, edges: Edges, known: dict[tuple[int | None, float], Edges], count: int) -> Tensor:
        """Return (count, functions); known keeps the edges to neighbours of one kind for the next group."""
        kinds = []
        for species in dict.fromkeys(group.neighbours) or (None,):
            key = (species, group.reach)
            if key not in known:
                within = edges.distance < group.reach
                known[key] = edges.pick(within if species is None else within & (edges.number == self.numbers[species]))
            kinds.append(known[key])
        if not all(len(kind.centre) for kind in kinds):
            return edges.distance.new_zeros((count, len(group.parts)))
        if group.angular:
            return self._triplets(group, kinds, count)
        values = self._radial(group, kinds[0].distance)
        if not group.neighbours:
            values = values * kinds[0].number[:, None]
        sums = values.new_zeros((count, len(group.radial))).index_add(0, kinds[0].centre, values)
        return sums.index_select(1, torch.tensor([radial for radial, _ in group.parts], device=sums.device))

    def _triplets(self, group: Group, kinds: Sequence[Edges], count: int) -> Tensor:
        """Return (count, functions), each pair of neighbours of a centre once.

        Triplets lie in rows of ROW places, each row of one centre: the sum over a row is a product of two small matrices for all pairs of
        radial and angular parts at once. Free places point at a neighbour that counts nothing.
        """
        first, second = kinds[0], kinds[-1]
        j, k = pairs_of_edges(first.centre, second.centre, count, same=len(kinds) == 1)
        if group.narrow:
            with torch.no_grad():
                near = _far_side(first, second, j, k, _cosine(first, second, j, k)) < group.reach**2
            j, k = j[near], k[near]
        centres, (j, k) = in_rows(first.centre[j], (j, k), (len(first.centre), len(second.centre)))
        first, *others = [_with_nobody(edges) for edges in kinds]
        second = others[0] if others else first
        cosine = _cosine(first, second, j, k)
        radial = self._weighted(group, first).index_select(0, j) * self._weighted(group, second).index_select(0, k)
        if group.narrow:
            radial = radial * self._radial(group, _far_side(first, second, j, k, cosine).clamp(min=1e-24).sqrt())
        rows = (len(centres), ROW)
        products = radial.view(*rows, len(group.radial)).transpose(1, 2) @ _angular(group, cosine).view(*rows, len(group.angular))
        parts = torch.tensor([a * len(group.angular) + b for a, b in group.parts], device=products.device)
        values = products.flatten(1).index_select(1, parts) * (1.0 if group.compact else 2.0)
        return values.new_zeros((count, len(parts))).index_add(0, centres, values)

    def _weighted(self, group: Group, edges: Edges) -> Tensor:
        """Return radial parts (edges, parts) of edges of which the last is nobody's."""
        values = self._radial(group, edges.distance)
        weights = (edges.number != 0) if group.neighbours else edges.number
        return values * weights[:, None]

    def _radial(self, group: Group, r: Tensor) -> Tensor:
        """Return (edges, radial parts) of distances (edges,)."""
        if group.compact:
            columns = [compact_function(r, inner, cutoff, *split_subtype(subtype)) for cutoff, inner, _, subtype in group.radial]
            return torch.stack(columns, dim=1)
        cutoffs = list(dict.fromkeys(cutoff for cutoff, *_ in group.radial))
        envelopes = torch.stack([cutoff_function(r, cutoff, self.cutoff_type, self.alpha) for cutoff in cutoffs], dim=1)
        if len(cutoffs) > 1:
            envelopes = envelopes.index_select(1, torch.tensor([cutoffs.index(cutoff) for cutoff, *_ in group.radial], device=r.device))
        eta, shift = (r.new_tensor([part[place] for part in group.radial]) for place in (1, 2))
        return torch.exp(-eta * (r[:, None] - shift).square()) * envelopes


def pairs_of_edges(first: Tensor, second: Tensor, count: int, *, same: bool) -> tuple[Tensor, Tensor]:
    """Return places j in first and k in second, (triplets,) each: every pair of edges of one centre, sorted by centre.

    first and second hold the centre (below count) of each edge, sorted; same means that they are one list, each pair of it taken once.
    """
    sizes = torch.bincount(second, minlength=count)
    ends = sizes.cumsum(0)[first]
    place = torch.arange(len(first), device=first.device)
    starts = place + 1 if same else ends - sizes[first]
    lengths = ends - starts
    j = place.repeat_interleave(lengths)
    ahead = lengths.cumsum(0) - lengths
    k = torch.arange(len(j), device=first.device) + (starts - ahead)[j]
    return j, k


def in_rows(centre: Tensor, places: Sequence[Tensor], free: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """Return the centre of each row (rows,), and places laid out in rows of ROW, with the number out of free in places that are left.

    centre is (triplets,), sorted; a row belongs to one centre, and a centre has as many rows as it needs.
    """
    owners, counts = torch.unique_consecutive(centre, return_counts=True)
    rows = (counts + ROW - 1) // ROW
    shift = (rows.cumsum(0) - rows) * ROW - (counts.cumsum(0) - counts)
    target = torch.arange(len(centre), device=centre.device) + shift.repeat_interleave(counts)
    laid = [torch.full((int(rows.sum()) * ROW,), nobody, device=centre.device) for nobody in free]
    for row, place in zip(laid, places, strict=True):
        row[target] = place
    return owners.repeat_interleave(rows), laid


def environments_of(batch: Batch, vectors: Tensor, first: int = 0, last: int | None = None) -> tuple[slice, Environments]:
    """Return the edges of the atoms first to last (all of them by default), and these atoms with their neighbours."""
    last = batch.n_atoms if last is None else last
    ends = torch.searchsorted(batch.centre, torch.tensor([first, last], device=batch.centre.device))
    edges = slice(int(ends[0]), int(ends[1]))
    neighbour_species = batch.species[batch.neighbour[edges]]
    return edges, Environments(batch.species[first:last], batch.centre[edges] - first, neighbour_species, vectors[edges])


def _angular(group: Group, cosine: Tensor) -> Tensor:
    """Return (triplets, angular parts) of the cosines (triplets,) of the angles at the centre.

    Of 2^(1 - zeta) (1 + lambda cos)^zeta half, ((1 + lambda cos) / 2)^zeta: the factor of two comes with the sum.
    """
    if group.compact:
        angle = torch.rad2deg(angle_of(cosine))
        return torch.stack([compact_function(angle, left, right, core, False) for left, right, core in group.angular], dim=1)
    halves = {lambda_: (0.5 + (0.5 * lambda_) * cosine).clamp(min=0.0) for lambda_, _, _ in group.angular}
    powers = {lambda_: Powers(half) for lambda_, half in halves.items()}
    return torch.stack([powers[lambda_](zeta) for lambda_, zeta, _ in group.angular], dim=1)


def angle_of(cosine: Tensor) -> Tensor:
    """Return the angle in radians; its gradient, which has no limit there, is zero for neighbours on one line with the centre."""
    inner = cosine.abs() < 1 - 64 * torch.finfo(cosine.dtype).eps
    safe = torch.where(inner, cosine, torch.zeros_like(cosine))
    return torch.where(inner, torch.acos(safe), torch.acos(cosine.detach().clamp(-1.0, 1.0)))


class Powers:
    """Powers of a base >= 0: whole ones as products of each other, which is faster and smooth at zero."""

    def __init__(self, base: Tensor) -> None:
        self._whole = {1: base}

    def __call__(self, exponent: float) -> Tensor:
        """Return the base to an exponent >= 0."""
        if exponent.is_integer() and 1 <= exponent <= 1024:
            return self._product(int(exponent))
        base = self._whole[1]
        positive = base > 0
        safe = torch.where(positive, base, torch.ones_like(base))
        return torch.where(positive, torch.pow(safe, exponent), torch.zeros_like(base))

    def _product(self, exponent: int) -> Tensor:
        if exponent not in self._whole:
            self._whole[exponent] = self._product(exponent // 2) * self._product(exponent - exponent // 2)
        return self._whole[exponent]


def _with_nobody(edges: Edges) -> Edges:
    """Return the edges and one more of atomic number 0 that counts nothing."""
    pad = torch.nn.functional.pad
    return Edges(edges.centre, pad(edges.distance, (0, 1), value=1.0), pad(edges.direction, (0, 1)), pad(edges.number, (0, 1)))


def _cosine(first: Edges, second: Edges, j: Tensor, k: Tensor) -> Tensor:
    """Return (triplets,) cosines of the angles at the centre."""
    x, y, z = (first.direction[axis].index_select(0, j) * second.direction[axis].index_select(0, k) for axis in range(3))
    return x + y + z


def _far_side(first: Edges, second: Edges, j: Tensor, k: Tensor, cosine: Tensor) -> Tensor:
    """Return (triplets,) squared distances between the two neighbours."""
    one, two = first.distance.index_select(0, j), second.distance.index_select(0, k)
    return (one - two).square() + 2 * one * two * (1 - cosine)


def _groups(functions: Sequence[SymmetryFunction], elements: Sequence[str]) -> tuple[Group, ...]:
    """Return the functions of one centre in groups; their columns count in the order given."""
    members: dict[tuple[tuple[int, ...], bool, bool, bool], list[int]] = {}
    for column, function in enumerate(functions):
        kind = function.type
        species = tuple(elements.index(symbol) for symbol in function.neighbours)
        members.setdefault((species, kind in COMPACT, kind in NARROW, kind in RADIAL), []).append(column)
    groups = []
    for (species, compact, narrow, radial_alone), columns in members.items():
        own = [functions[column] for column in columns]
        radials = [(f.cutoff, f.inner, 0.0, f.subtype) if compact else (f.cutoff, f.eta, f.shift, "") for f in own]
        angulars = [(f.left, f.right, split_subtype(f.subtype)[0]) if compact else (f.lambda_, f.zeta, "") for f in own]
        radial, angular = list(dict.fromkeys(radials)), [] if radial_alone else list(dict.fromkeys(angulars))
        parts = [(radial.index(r), -1 if radial_alone else angular.index(a)) for r, a in zip(radials, angulars, strict=True)]
        reach = max(f.cutoff for f in own)
        groups.append(Group(species, reach, compact, narrow, tuple(radial), tuple(angular), tuple(parts), tuple(columns)))
    return tuple(groups)
