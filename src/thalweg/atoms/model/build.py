"""The kinds of networks, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Array, Key

from thalweg.atoms.model.gto import Shape, gaussian_network
from thalweg.atoms.model.naive import naive_network
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.core.errors import InputError

Kind = Literal["gto", "radial", "naive"]


def network(
    kind: str, shape: Shape, elements: Sequence[int], key: Key[Array, ""], dtype: Any, *, atoms: int | None = None
) -> AbstractNetwork:
    """A network with random weights.

    **Arguments:** `kind`: `gto`, orbitals of all degrees; `radial`, the same with spherical orbitals only, which sees
    distances and nothing else; `naive`, which sees coordinates; `atoms` per frame of a naive one.
    """
    if kind == "gto":
        return gaussian_network(shape, elements, key, dtype)
    if kind == "radial":
        return gaussian_network(spherical(shape), elements, key, dtype)
    if kind == "naive" and atoms is not None:
        return naive_network(shape, elements, atoms, key, dtype)
    raise InputError(f"there is no network {kind!r}: choose gto, radial or naive.")


def spherical(shape: Shape) -> Shape:
    """The shape of a network that sees distances only."""
    return dataclasses.replace(shape, degree=0, paths=(), messages=0)
