from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from training.potentials import POTENTIALS
from training.potentials.hdnnp.harmonics import gaunt, harmonics, monomials, sphere_integral


@pytest.mark.parametrize("name", [spec.name for spec in POTENTIALS])
def test_each_architecture_has_a_folder_whose_readme_runs(root: Path, name: str) -> None:
    readme = root / "training" / "potentials" / name / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    assert blocks or name == "acsf"
    for block in blocks:
        exec(compile(block, str(readme), "exec"), {})


def test_harmonics_are_orthonormal_and_obey_the_addition_theorem() -> None:
    powers, table = monomials(4), harmonics(4)
    gram = np.array([[sphere_integral((p[0] + q[0], p[1] + q[1], p[2] + q[2])) for q in powers] for p in powers])
    np.testing.assert_allclose(table.T @ gram @ table, np.eye(25), atol=1e-12)
    random = np.random.default_rng(0).normal(size=(2, 3))
    units = random / np.linalg.norm(random, axis=1, keepdims=True)
    values = np.array([[np.prod(unit ** np.array(p)) for p in powers] for unit in units]) @ table
    cosine = units[0] @ units[1]
    for degree in range(5):
        own = slice(degree**2, (degree + 1) ** 2)
        legendre = np.polynomial.legendre.Legendre.basis(degree)(cosine)
        assert values[0, own] @ values[1, own] == pytest.approx((2 * degree + 1) / (4 * np.pi) * legendre)


def test_gaunt_integrals_reproduce_products_of_harmonics() -> None:
    table = gaunt(2)
    np.testing.assert_allclose(table, table.transpose(1, 0, 2), atol=1e-13)
    np.testing.assert_allclose(table[0], np.eye(9) / np.sqrt(4 * np.pi) * np.sign(table[0, 0, 0]), atol=1e-12)
