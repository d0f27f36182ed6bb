"""Real spherical harmonics as polynomials of the unit vector, of any order."""

from __future__ import annotations

from math import pi, prod

import numpy as np
from numpy.typing import NDArray

from schemas.frames import Floats

Powers = tuple[int, int, int]


def monomials(l_max: int) -> list[Powers]:
    """Return the powers (a, b, c) of x^a y^b z^c, by degree 0..l_max."""
    return [(a, b, degree - a - b) for degree in range(l_max + 1) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1)]


def monomial_steps(l_max: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return for each degree 1..l_max which monomial of the degree below, times which axis, each of its monomials is."""
    steps = []
    for degree in range(1, l_max + 1):
        below = [p for p in monomials(l_max) if sum(p) == degree - 1]
        parents, axes = [], []
        for powers in (p for p in monomials(l_max) if sum(p) == degree):
            axis = next(axis for axis in range(3) if powers[axis])
            axes.append(axis)
            parents.append(below.index(_lowered(powers, axis)))
        steps.append((np.array(parents), np.array(axes)))
    return steps


def sphere_integral(powers: Powers) -> float:
    """Return the integral of x^a y^b z^c over the unit sphere: 4π (a-1)!!(b-1)!!(c-1)!!/(a+b+c+1)!!, zero for an odd power."""
    if any(power % 2 for power in powers):
        return 0.0
    return 4 * pi * prod(_odd_factorial(power - 1) for power in powers) / _odd_factorial(sum(powers) + 1)


def harmonics(l_max: int) -> Floats:
    """Return (monomials, (l_max+1)²): the coefficients of real harmonics, orthonormal on the sphere, l after l.

    Within one l the basis is any orthonormal one of the harmonic polynomials (those that the Laplacian takes to zero); all that is
    built from them here is free of that choice.
    """
    powers = monomials(l_max)
    table = np.zeros((len(powers), (l_max + 1) ** 2))
    for degree in range(l_max + 1):
        rows = [row for row, p in enumerate(powers) if sum(p) == degree]
        space = _harmonic_space([powers[row] for row in rows])
        table[rows, degree**2 : (degree + 1) ** 2] = space
    return table


def reduced_harmonics(l_max: int) -> tuple[list[Powers], Floats]:
    """Return the same harmonics in as few monomials as there are harmonics: those with z to at most the first power.

    z² is 1 - x² - y² on the sphere. The table is ((l_max+1)², (l_max+1)²): monomials, then harmonics.
    """
    powers = monomials(l_max)
    kept = [p for p in powers if p[2] < 2]
    place = {p: row for row, p in enumerate(kept)}
    change = np.zeros((len(kept), len(powers)))
    for column, power in enumerate(powers):
        for p, factor in _without_squares_of_z(power).items():
            change[place[p], column] += factor
    return kept, change @ harmonics(l_max)


def gaunt(l_max: int) -> Floats:
    """Return (n, n, n) integrals over the sphere of three harmonics, n = (l_max+1)²."""
    powers, table = monomials(l_max), harmonics(l_max)
    integrals = np.array([[[sphere_integral(_added(p, q, r)) for r in powers] for q in powers] for p in powers])
    contracted: Floats = np.einsum("pqr,pa,qb,rc->abc", integrals, table, table, table, optimize=True)
    return contracted


def _harmonic_space(powers: list[Powers]) -> Floats:
    """Return (monomials, 2l+1) coefficients of an orthonormal basis of harmonic polynomials of one degree."""
    degree = sum(powers[0])
    below = {p: row for row, p in enumerate(p for p in monomials(degree) if sum(p) == degree - 2)}
    laplacian = np.zeros((max(len(below), 1), len(powers)))
    for column, p in enumerate(powers):
        for axis in range(3):
            if p[axis] >= 2:
                laplacian[below[_lowered(_lowered(p, axis), axis)], column] += p[axis] * (p[axis] - 1)
    kernel = np.linalg.svd(laplacian)[2][len(powers) - (2 * degree + 1) :].T
    gram = np.array([[sphere_integral(_added(p, q)) for q in powers] for p in powers])
    return np.asarray(np.linalg.solve(np.linalg.cholesky(kernel.T @ gram @ kernel), kernel.T).T)


def _without_squares_of_z(power: Powers) -> dict[Powers, float]:
    a, b, c = power
    if c < 2:
        return {power: 1.0}
    found: dict[Powers, float] = {}
    for other, sign in (((a, b, c - 2), 1.0), ((a + 2, b, c - 2), -1.0), ((a, b + 2, c - 2), -1.0)):
        for p, factor in _without_squares_of_z(other).items():
            found[p] = found.get(p, 0.0) + sign * factor
    return found


def _lowered(powers: Powers, axis: int) -> Powers:
    lower = list(powers)
    lower[axis] -= 1
    return lower[0], lower[1], lower[2]


def _added(*powers: Powers) -> Powers:
    return sum(p[0] for p in powers), sum(p[1] for p in powers), sum(p[2] for p in powers)


def _odd_factorial(number: int) -> int:
    return prod(range(number, 0, -2))
