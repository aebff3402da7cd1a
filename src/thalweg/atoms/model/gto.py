"""The network of Gaussian-type orbitals: densities of neighbours, their invariants, and orbitals that know theirs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from thalweg.atoms.model.density import densities, heard, message_matrices, mixed, unstacked
from thalweg.atoms.model.harmonics import HIGHEST, couplings, doubled, solid_harmonics
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.orbitals import AbstractRadial, BesselNetwork, Gaussians, smooth_cutoff, soft_length
from thalweg.atoms.model.repulsion import repulsion
from thalweg.atoms.model.structure import Atoms, Neighbours
from thalweg.core.errors import InputError

_FLOOR = 2.0  # of the spread that invariants are scaled by; their densities have a norm of 1
Path = tuple[int, int, int]
PATHS: dict[int, tuple[Path, ...]] = {
    0: (),
    1: (),
    2: ((1, 1, 2), (2, 2, 2), (1, 2, 1)),
    3: ((1, 1, 2), (2, 2, 2), (1, 2, 1), (1, 2, 3), (2, 3, 1), (1, 3, 2), (3, 3, 2)),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large a network is.

    **Fields:** `degree` of the harmonics; `orbitals` per species of neighbour; `channels` after contraction; `layers`;
    `messages`, channels that carry harmonics from atom to atom (0: none); `hidden` units of the readout; `cutoff` in
    A; `paths` of Clebsch-Gordan products, `None` for those of the degree; `recursive`, whether the orbitals of later
    layers have coefficients that depend on their atom's surroundings; `radial`, `gaussian` or `bessel`.
    """

    degree: int = 2
    orbitals: int = 16
    channels: int = 32
    layers: int = 2
    messages: int = 16
    hidden: int = 64
    cutoff: float = 5.0
    paths: tuple[Path, ...] | None = None
    recursive: bool = True
    radial: str = "gaussian"
    repulsion: bool = True

    def __post_init__(self):
        if self.paths is not None:  # JSON and TOML know lists only
            object.__setattr__(self, "paths", tuple((int(a), int(b), int(c)) for a, b, c in self.paths))
        for name in ("orbitals", "channels", "layers", "hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"a network with {name} = {getattr(self, name)}: give at least 1.")
        if not 0 <= self.degree <= HIGHEST or self.messages < 0:
            raise InputError(
                f"degree {self.degree} and messages {self.messages}: degree is 0 to {HIGHEST}, messages >= 0."
            )
        if not (math.isfinite(self.cutoff) and self.cutoff > 1):
            raise InputError(f"a cutoff of {self.cutoff} A: give one between 2 and 12.")
        if self.radial not in ("gaussian", "bessel"):
            raise InputError(f"radial functions {self.radial!r}: choose gaussian or bessel.")
        if any(max(path) > self.degree for path in self.products):
            raise InputError(f"paths {self.products} need harmonics of a higher degree than {self.degree}.")

    @property
    def products(self) -> tuple[Path, ...]:
        """The paths of products that are used."""
        return PATHS[self.degree] if self.paths is None else self.paths

    @property
    def invariants(self) -> int:
        """How many invariants a layer has for each atom."""
        return self.channels * (1 + self.degree + 2 * len(self.products))


class Layer(eqx.Module):
    """One density of neighbours and its invariants.

    **Fields:** `contraction`, for each degree from orbitals of all species to channels; `own [species, channels]`, the
    element of the atom itself; `squares`, for each degree above 0, and `triples`, for each path: which channels are
    multiplied; `coefficients`, from the invariants of the layer before to coefficients of orbitals; `sent` and
    `received`, for each degree, the messages' channels, and `reach [orbitals, degrees]` their radial function;
    `spread`, of each degree, and `middle` and `width`, of the invariants, as measured once and for all.
    """

    contraction: tuple[Float[Array, "in channels"], ...]
    own: Float[Array, "species channels"]
    squares: tuple[Float[Array, "channels channels"], ...]
    triples: tuple[Float[Array, "channels channels"], ...]
    coefficients: Float[Array, "invariants orbitals"] | None
    sent: tuple[Float[Array, "channels messages"], ...]
    received: tuple[Float[Array, "messages channels"], ...]
    reach: Float[Array, "orbitals degrees"] | None
    spread: Float[Array, " degrees"]
    middle: Float[Array, " invariants"]
    width: Float[Array, " invariants"]


class GaussianNetwork(AbstractNetwork):
    """Energies of atoms from contracted Gaussian-type orbitals of their neighbours.

    The orbitals of all neighbours of a species are summed to a density, contracted to channels, and squared into
    invariants: by scalar products between channels, and with Clebsch-Gordan products of two densities (four bodies)
    and between two such products (five). Later layers have coefficients that depend on each neighbour's own
    invariants, and receive densities of neighbours as messages. Everything is infinitely often differentiable. An
    atom without neighbours has the energy 0.

    **Source:** Zhang, Xia & Jiang, Phys. Rev. Lett. 127, 156002 (2021), for recursive coefficients; Drautz, Phys. Rev.
    B 99, 014104 (2019), for the products.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    radial: AbstractRadial
    layers: tuple[Layer, ...]
    linear: Float[Array, " invariants"]
    first: Float[Array, "invariants hidden"]
    bias: Float[Array, " hidden"]
    second: Float[Array, " hidden"]
    baseline: Float[Array, " species"]
    scale: Float[Array, ""]
    shape: Shape = eqx.field(static=True)

    @property
    def cutoff(self) -> float:
        """How far an atom sees, in A."""
        return self.shape.cutoff

    def __call__(self, atoms: Atoms) -> Float[Array, " atoms"]:
        features = jnp.concatenate([each for *_, each in self.walk(atoms)])
        alone = jnp.concatenate([-layer.middle * layer.width for layer in map(_still, self.layers)])
        # Read in one product: two of different widths would round an atom alone to another number than its own zero.
        read = self._read(jnp.concatenate([features, alone[:, None]], axis=1))
        energy = jax.lax.stop_gradient(self.scale) * (read[:-1] - read[-1])
        energy = energy + self.baseline[atoms.species] * coordination(atoms.neighbours, self.cutoff)
        return energy + repulsion(atoms, self.elements) if self.shape.repulsion else energy

    def walk(self, atoms: Atoms) -> Iterator[tuple[list[Float[Array, "channels m atoms"]], Array, Array]]:
        """For each layer: the densities of each degree, the raw invariants, and the invariants as they are read."""
        radial, angular = self._orbitals(atoms.neighbours)
        before = None
        for layer in self.layers:
            density = self._density(layer, atoms, radial, angular, before)
            raw = _invariants(self.shape, layer, density)
            still = _still(layer)
            read = (raw - still.middle[:, None]) * still.width[:, None]
            yield density, raw, read
            before = density, read

    def _orbitals(self, neighbours: Neighbours) -> tuple[list[Array], list[Array]]:
        radial, angular = [], []
        for species, vectors in enumerate(neighbours.vectors):
            square = jnp.sum(vectors * vectors, axis=0)
            length = soft_length(square)
            radial.append(self.radial(length, smooth_cutoff(square, self.cutoff), species))
            x, y, z = unstacked(vectors / length, 0)
            angular.append(jnp.stack(solid_harmonics(x, y, z, self.shape.degree), axis=1))
        return radial, angular

    def _density(self, layer: Layer, atoms: Atoms, radial: list[Array], angular: list[Array], before) -> list[Array]:
        index, weighted = atoms.neighbours.index, radial
        if before is not None and layer.coefficients is not None:
            grown = 1 + layer.coefficients.T @ before[1]
            weighted = [each * jnp.moveaxis(grown[:, at], 1, 0) for each, at in zip(radial, index, strict=True)]
        raw = densities(weighted, angular)
        own = (1 + layer.own.T)[:, atoms.species][:, None]
        found = [
            mixed(weights, raw[:, degree**2 : (degree + 1) ** 2]) * own
            for degree, weights in enumerate(layer.contraction)
        ]
        if before is not None and layer.reach is not None:
            between = message_matrices(radial, index, layer.reach, atoms.frames)
            for degree, (sent, received) in enumerate(zip(layer.sent, layer.received, strict=True)):
                told = heard(mixed(sent, before[0][degree]), between[degree])
                found[degree] = found[degree] + mixed(received, told)
        spread = _still(layer).spread
        return [each * spread[degree] for degree, each in enumerate(found)]

    def _read(self, features: Float[Array, "invariants atoms"]) -> Float[Array, " atoms"]:
        hidden = jax.nn.silu(self.first.T @ features + self.bias[:, None])
        return self.linear @ features + self.second @ hidden


def coordination(neighbours: Neighbours, cutoff: float) -> Float[Array, " atoms"]:
    """How bound an atom is, from 0 when alone to 1 among many: `n / (1 + n)` of a smooth number of neighbours `n`."""
    count = jnp.zeros((), neighbours.vectors[0].dtype)
    for vectors in neighbours.vectors:
        square = jnp.sum(vectors * vectors, axis=0)
        count = count + jnp.sum(2 * jnp.exp(-square / 2) * smooth_cutoff(square, cutoff), axis=0)
    return count / (1 + count)


def _still(layer: Layer) -> Layer:
    """The layer with its measured numbers held: they are no parameters."""
    held = jax.lax.stop_gradient((layer.spread, layer.middle, layer.width))
    return eqx.tree_at(lambda each: (each.spread, each.middle, each.width), layer, held)


def _invariants(shape: Shape, layer: Layer, density: list[Array]) -> Float[Array, "invariants atoms"]:
    found = [density[0][:, 0]]
    for partner, each in zip(layer.squares, density[1:], strict=True):
        found.append(jnp.sum(each * mixed(partner, each), axis=1))
    for (one, two, into), weights in zip(shape.products, layer.triples, strict=True):
        product = _product(density[one], density[two], one, two, into)
        found.append(jnp.sum(product * mixed(weights, density[into]), axis=1))
        found.append(jnp.sum(product * product, axis=1))
    return jnp.concatenate(found)


def _product(first: Array, second: Array, one: int, two: int, into: int) -> Float[Array, "channels m atoms"]:
    """The Clebsch-Gordan product, channel by channel; written out, since the tables are nearly empty."""
    rows = doubled(one, into) if one == two else couplings(one, two, into)
    left, right = unstacked(first, 1), unstacked(second, 1)
    return jnp.stack([sum(w * left[a] * right[b] for a, b, w in row) for row in rows], axis=1)  # type: ignore[misc]


def gaussian_network(shape: Shape, elements: Sequence[int], key: Key[Array, ""], dtype: np.dtype) -> GaussianNetwork:
    """A network with random weights and no measured spreads; `calibrated` measures them."""
    keys = iter(jax.random.split(key, 16 * (shape.layers + 1)))
    species, orbitals, channels, invariants = len(elements), shape.orbitals, shape.channels, shape.invariants

    def normal(*size: int, over: int | None = None, times: float = 1.0) -> Array:
        return jax.random.normal(next(keys), size, dtype) * (times / math.sqrt(over or size[0]))

    def layer(later: bool) -> Layer:
        degrees, sends = range(shape.degree + 1), later and shape.messages > 0
        return Layer(
            contraction=tuple(normal(species * orbitals, channels) for _ in degrees),
            own=normal(species, channels, over=1, times=0.1),
            squares=tuple(normal(channels, channels) for _ in degrees[1:]),
            triples=tuple(normal(channels, channels) for _ in shape.products),
            coefficients=normal(invariants, orbitals, times=0.1) if later and shape.recursive else None,
            sent=tuple(normal(channels, shape.messages) for _ in degrees) if sends else (),
            received=tuple(normal(shape.messages, channels) for _ in degrees) if sends else (),
            reach=normal(orbitals, shape.degree + 1) if sends else None,
            spread=jnp.ones(shape.degree + 1, dtype),
            middle=jnp.zeros(invariants, dtype),
            width=jnp.ones(invariants, dtype),
        )

    if shape.radial == "gaussian":
        radial: AbstractRadial = Gaussians.make(species, orbitals, shape.cutoff, dtype)
    else:
        radial = BesselNetwork.make(species, orbitals, shape.cutoff, dtype, next(keys))
    total = shape.layers * invariants
    return GaussianNetwork(
        elements=tuple(int(z) for z in elements),
        radial=radial,
        layers=tuple(layer(place > 0) for place in range(shape.layers)),
        linear=jnp.zeros(total, dtype),
        first=normal(total, shape.hidden),
        bias=jnp.zeros(shape.hidden, dtype),
        second=normal(shape.hidden, times=0.1),
        baseline=jnp.zeros(species, dtype),
        scale=jnp.ones((), dtype),
        shape=shape,
    )


def calibrated(net: GaussianNetwork, atoms: Atoms, real: Int[Array, " real"]) -> GaussianNetwork:
    """The network with its spreads measured on some frames, layer by layer, so that all it reads is of order 1.

    **Arguments:** `real`, which of the atoms are no filling.
    """
    for place in range(len(net.layers)):
        net = _calibrated_layer(net, atoms, real, place)
    return net


@eqx.filter_jit
def _calibrated_layer(net: GaussianNetwork, atoms: Atoms, real: Array, place: int) -> GaussianNetwork:
    def at(field: str):
        return lambda net: getattr(net.layers[place], field)

    density = [each[..., real] for each in list(net.walk(atoms))[place][0]]
    spread = jnp.stack([1 / jnp.sqrt(jnp.mean(jnp.sum(each**2, axis=1)) + 1e-12) for each in density])
    net = eqx.tree_at(at("spread"), net, spread * net.layers[place].spread)
    raw = list(net.walk(atoms))[place][1][:, real]
    net = eqx.tree_at(at("middle"), net, jnp.mean(raw, axis=1))
    # An invariant that hardly varies stays small: raised to the others' spread it would teach noise.
    return eqx.tree_at(at("width"), net, 1 / (jnp.std(raw, axis=1) + _FLOOR))
