"""Allegro, strictly local equivariant potentials, by the package nequip-allegro; see README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from training.potentials.nequip import Nequip, NequipConfig, configure, state_kept
from training.potentials.nequip import build as build_nequip

__all__ = ["Allegro", "build", "configure"]


class Allegro(Nequip):
    """E = sum of energies of pairs that see what is around their first atom (Musaelian et al., Nat. Commun. 14, 579, 2023).

    Nothing is passed on between atoms, so an atom's energy ends at the cutoff. All else is as for NequIP, whose package it extends.
    """

    name: ClassVar[str] = "allegro"
    packages: ClassVar[tuple[str, ...]] = ("nequip-allegro", "nequip", "e3nn")
    module: ClassVar[str] = "allegro"

    @staticmethod
    def made(elements: tuple[str, ...], cutoff: float, shape: NequipConfig) -> nn.Module:
        """Return the part of the model that gives atomic energies, in double precision; weights are drawn from torch's generator."""
        seed, width, depth = int(torch.randint(2**31 - 1, ())), shape.hidden[0], len(shape.hidden)
        with state_kept():
            from allegro.model import AllegroModel

            whole: Any = AllegroModel(
                seed=seed,
                model_dtype="float64",
                type_names=list(elements),
                r_max=cutoff,
                num_layers=shape.layers,
                l_max=shape.l_max,
                parity=False,
                radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": shape.radial_functions},
                num_scalar_features=width,
                num_tensor_features=shape.channels,
                scalar_embed_mlp_hidden_layers_depth=depth,
                scalar_embed_mlp_hidden_layers_width=width,
                allegro_mlp_hidden_layers_depth=depth,
                allegro_mlp_hidden_layers_width=width,
                readout_mlp_hidden_layers_depth=1,
                readout_mlp_hidden_layers_width=width,
                avg_num_neighbors=1.0,
                per_type_energy_scales=1.0,
                per_type_energy_shifts=0.0,
                do_derivatives=False,
            )
        network: nn.Module = whole.model.func
        return network


def build(elements: tuple[str, ...], cutoff: float, config: Mapping[str, object]) -> Nequip:
    """Return an untrained potential; raises TrainingError for a configuration of other fields, and where the package is not installed."""
    return build_nequip(elements, cutoff, config, Allegro)
