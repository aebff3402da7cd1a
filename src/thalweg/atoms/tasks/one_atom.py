"""One atom in the field of fixed others: the same network shown distances, or coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.read import read
from thalweg.atoms.tasks.over_seeds import exponent, over_seeds
from thalweg.atoms.tasks.turning import rotations
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook, Store
from thalweg.methods.data import Whole
from thalweg.methods.parts import Arrays, in_parts, part_name
from thalweg.verbs.train import from_loss, train

SEES = ("distances", "coordinates", "coordinates, turned")
_COULOMB = 14.3996  # eV A per squared elementary charge
_SCREENED = 3.0  # A
_WELL = 0.02  # eV
_RADIUS, _CHARGE = 1.6, 0.5  # of the probe, in A and e
_FAR, _HIGH = 4.0, 0.2  # A from the nearest atom, eV: beyond both no place is taken
_WIDTH = 64  # units of the two hidden layers over three coordinates; others have as many parameters
_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
_BATCH = 32
_CHECKED = 500  # places to choose the rate by, and again as many to measure on


class Example(NamedTuple):
    """What was learnt of one atom in a field.

    **Fields:** `result`, plain numbers; `molecule`, the fixed atoms; `charges` of these in e; the places of `test` in
    A with their `energies` in eV.
    """

    result: dict[str, Any]
    molecule: Frame
    charges: Float[np.ndarray, " atoms"]
    test: Float[np.ndarray, "places 3"]
    energies: Float[np.ndarray, " places"]


class Budget(NamedTuple):
    """How much is learnt: numbers of places `sizes` to learn from, `seeds`, and `steps` of each training."""

    sizes: tuple[int, ...] = (30, 100, 300, 1000)
    seeds: int = 3
    steps: int = 3000


def charges_of(molecule: Frame) -> Float[np.ndarray, " atoms"]:
    """Charges in e for the field: a tenth of the electron for each proton above the mean. A field, not chemistry."""
    return -0.1 * (molecule.numbers - molecule.numbers.mean())


def field_energy(molecule: Frame, places: Float[np.ndarray, "places 3"]) -> Float[np.ndarray, " places"]:
    """The energy in eV of a probe at some places in A: Lennard-Jones and screened Coulomb terms, one for each atom.

    **Arguments:** `molecule`, whose atoms stay where they are; sizes are their van der Waals radii.
    """
    from ase.data.vdw_alvarez import vdw_radii

    length = np.linalg.norm(places[:, None] - molecule.positions[None], axis=2)
    share = ((vdw_radii[molecule.numbers] + _RADIUS) / length) ** 6
    coulomb = _COULOMB * _CHARGE * charges_of(molecule) * np.exp(-length / _SCREENED) / length
    return np.sum(_WELL * (share**2 - 2 * share) + coulomb, axis=1)


def places_around(molecule: Frame, count: int, random: np.random.Generator) -> Float[np.ndarray, "count 3"]:
    """Places in A where a probe may be, uniform in volume: within 4 A of the nearest atom and below 0.2 eV."""
    low, high = molecule.positions.min(axis=0) - _FAR, molecule.positions.max(axis=0) + _FAR
    found = np.zeros((0, 3))
    while len(found) < count:
        tried = random.uniform(low, high, (4 * count, 3))
        near = np.linalg.norm(tried[:, None] - molecule.positions[None], axis=2).min(axis=1)
        tried = tried[(near < _FAR) & (near > 0.5)]
        found = np.concatenate([found, tried[field_energy(molecule, tried) < _HIGH]])
    return found[:count]


def one_atom(
    molecule: Frame | None = None,
    budget: Budget | None = None,
    *,
    sees: Sequence[str] = SEES,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Example:
    """Learn the energy of a probe around a rigid molecule from distances, from coordinates, and from turned ones.

    `distances`: from the probe to every atom. `coordinates`: of the probe, where the molecule stands. `coordinates,
    turned`: of the probe and all atoms from their mean, every example turned at random. All three networks have two
    hidden layers of SiLU units, as many parameters, the same steps, and each its own rate, chosen for each number of
    places on others that are not tested on.

    **Arguments:** `molecule`, by default the first frame of the sample `ethanol`; `budget`; `sees`, which of the three;
    `done`, where finished parts are kept; `hooks`, called after each.

    **Returns:** `result` with, for each of `SEES`, `parameters`, `mae_meV` and `turned_mae_meV` by number of places (as
    `over_seeds`), `rates`, and the `exponent` of the learning curve.

    **Raises:** `InputError` for a molecule of fewer than two atoms or a budget of nothing.
    """
    molecule, budget = molecule or read("ethanol")[0], budget or Budget()
    if len(molecule.numbers) < 2 or not budget.sizes or min((*budget.sizes, budget.seeds, budget.steps)) < 1:
        raise InputError("one atom: give a molecule of at least two atoms, and at least one place, seed and step.")
    random = np.random.default_rng(seed)
    places = places_around(molecule, max(budget.sizes) + 2 * _CHECKED, random)
    energies = field_energy(molecule, places)
    names = {
        part_name("one-atom", sees=kind, budget=list(budget), seed=seed, places=places, atoms=molecule.positions,
                  numbers=molecule.numbers): kind
        for kind in sees
    }  # fmt: skip

    def compute(name: str) -> Arrays:
        return _learnt(names[name], molecule, places, energies, budget, seed)

    parts = in_parts(list(names), compute, done=done, hooks=hooks, task="one atom")
    spread = float(1e3 * energies[-_CHECKED:].std())
    result: dict[str, Any] = {
        "atoms": len(molecule.numbers), "test_places": _CHECKED, "steps": budget.steps, "seeds": budget.seeds,
        "spread_meV": spread,
    }  # fmt: skip
    for name, part in parts.items():
        errors, turned = (dict(zip(budget.sizes, part[key], strict=True)) for key in ("errors", "turned"))
        result[names[name].replace(", ", "_")] = {
            "parameters": int(part["parameters"]),
            "mae_meV": {str(size): over_seeds(each) for size, each in errors.items()},
            "turned_mae_meV": {str(size): over_seeds(each) for size, each in turned.items()},
            "rates": part["rates"].tolist(),
            "exponent": exponent(errors),
        }
    return Example(result, molecule, charges_of(molecule), places[-_CHECKED:], energies[-_CHECKED:])


class _Sight(eqx.Module):
    """What a network sees of a probe at `places`: one of `SEES`."""

    kind: str = eqx.field(static=True)
    atoms: Float[Array, "atoms 3"]

    def __call__(self, places: Float[Array, "n 3"], by: Float[Array, "n 3 3"]) -> Float[Array, "n inputs"]:
        """The inputs for places when molecule and probe are turned together."""
        probe = jnp.einsum("nab,nb->na", by, places)
        if self.kind == "coordinates":
            return probe / 3
        turned = jnp.einsum("nab,mb->nma", by, self.atoms)
        if self.kind == "distances":
            return jnp.linalg.norm(probe[:, None] - turned, axis=2) / 2 - 2
        everything = jnp.concatenate([probe[:, None], turned], axis=1)
        return (everything - jnp.mean(everything, axis=1, keepdims=True)).reshape(len(places), -1) / 2


class _Lessons(eqx.Module):
    """The loss of a batch of the first `count` places of an `order`, drawn anew in each step."""

    sight: _Sight
    order: Int[Array, " places"]
    count: Float[Array, ""]

    def __call__(self, net: eqx.nn.MLP, data: tuple[Array, Array], key: Key[Array, ""]) -> Float[Array, ""]:
        drawn = jax.random.uniform(key, (_BATCH,), jnp.float32)
        rows = self.order[jnp.minimum(drawn * self.count, self.count - 1).astype(jnp.int32)]
        places, energies = data[0][rows], data[1][rows]
        by = jnp.broadcast_to(jnp.eye(3, dtype=places.dtype), (_BATCH, 3, 3))
        if self.sight.kind == "coordinates, turned":
            by = rotations(jax.random.fold_in(key, 1), _BATCH, places.dtype)
        return jnp.mean((jax.vmap(net)(self.sight(places, by)) - energies) ** 2)


def _networks(inputs: int, lanes: int, random: np.random.Generator) -> eqx.nn.MLP:
    """Random networks side by side, each with as many parameters as one over three coordinates, to the nearest width.

    Drawn on the host: to compile the drawing takes longer than the training.
    """
    wanted = _parameters(3, _WIDTH)
    width = min(range(1, _WIDTH + 1), key=lambda each: abs(_parameters(inputs, each) - wanted))
    make = eqx.filter_eval_shape(eqx.nn.MLP, inputs, "scalar", width, 2, jax.nn.silu, key=jax.random.key(0))

    def drawn(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        spread = 1 / np.sqrt(leaf.shape[-1]) if len(leaf.shape) > 1 else 0.0
        return jnp.asarray(spread * random.normal(size=(lanes, *leaf.shape)), jnp.float32)

    return jax.tree.map(drawn, make, is_leaf=lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))


def _parameters(inputs: int, width: int) -> int:
    return (inputs + 1) * width + (width + 1) * width + width + 1


def _learnt(
    kind: str, molecule: Frame, places: np.ndarray, energies: np.ndarray, budget: Budget, seed: int
) -> dict[str, np.ndarray]:
    """The errors of all sizes and seeds at the best rate of each size, all trained side by side."""
    centre = molecule.positions.mean(axis=0)
    sight = _Sight(kind, jnp.asarray(molecule.positions - centre, jnp.float32))
    inputs = {"distances": len(molecule.numbers), "coordinates": 3}.get(kind, 3 * (len(molecule.numbers) + 1))
    x = jnp.asarray(places - centre, jnp.float32)
    scale = float(energies.std())
    y = jnp.asarray((energies - energies.mean()) / scale, jnp.float32)
    many, random = max(budget.sizes), np.random.default_rng([seed, 1])
    orders = np.stack([random.permutation(many) for _ in range(budget.seeds)])
    lanes = [(n, s, r) for n in budget.sizes for s in range(budget.seeds) for r in _RATES]
    counts, seeds, rates = (np.array(column) for column in zip(*lanes, strict=True))
    lessons = jnp.asarray(orders[seeds], jnp.int32), jnp.asarray(counts, jnp.float32), jnp.asarray(rates, jnp.float32)
    nets = _networks(inputs, len(lanes), random)
    nets = _lanes(sight, (x[:many], y[:many]), nets, lessons, jax.random.key(seed), budget.steps)
    shape = (len(budget.sizes), budget.seeds, len(_RATES))
    errors = 1e3 * scale * np.asarray(_errors(sight, nets, x[many:], y[many:], jax.random.key(seed + 1)), np.float64)
    checked, tested, turned = (part.reshape(shape) for part in errors)
    # A rate with which a training breaks is no choice.
    best = np.argmin(np.nan_to_num(checked.mean(axis=1), nan=np.inf), axis=1)
    rows = np.arange(len(best))
    leaves = jax.tree.leaves(eqx.filter(nets, eqx.is_array))
    return {
        "errors": tested[rows, :, best],
        "turned": turned[rows, :, best],
        "rates": np.array(_RATES)[best],
        "parameters": np.array(sum(leaf.size for leaf in leaves) // len(lanes)),
    }


@eqx.filter_jit
def _lanes(sight: _Sight, data: Any, nets: Any, lessons: Any, key: Key[Array, ""], steps: int) -> Any:
    arrays, fixed = eqx.partition(nets, eqx.is_array)
    cosine = optax.warmup_cosine_decay_schedule(0.0, 1.0, min(100, steps // 2), steps, 0.005)

    def lane(net: Any, order: Array, count: Array, rate: Array) -> Any:
        optimiser = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(cosine), optax.scale(-rate))
        rule = from_loss(_Lessons(sight, order, count))
        found = train(
            eqx.combine(net, fixed), rule, Whole(data), optimiser, key=key, steps=steps, ema=0.99, throw=False
        )
        return eqx.filter(found.value, eqx.is_array)

    return eqx.combine(jax.vmap(lane)(arrays, *lessons), fixed)


@eqx.filter_jit
def _errors(sight: _Sight, nets: Any, places: Array, energies: Array, key: Array) -> Float[Array, "three lanes"]:
    """Mean absolute errors on the places to choose by, on those to test on, and on the latter turned at random."""
    half = len(places) // 2
    still = jnp.broadcast_to(jnp.eye(3, dtype=places.dtype), (half, 3, 3))

    def error(net: Any, part: slice, by: Array) -> Array:
        return jnp.mean(jnp.abs(jax.vmap(net)(sight(places[part], by)) - energies[part]))

    def all_three(net: Any) -> Array:
        test = slice(half, None)
        return jnp.stack([error(net, slice(half), still), error(net, test, still),
                          error(net, test, rotations(key, half, places.dtype))])  # fmt: skip

    return eqx.filter_vmap(all_three, in_axes=eqx.if_array(0))(nets).T


def table(result: dict[str, Any], sees: Sequence[str] = SEES) -> list[tuple[Any, ...]]:
    """Rows of what is seen, parameters, number of places, error and error turned, in meV."""
    rows = []
    for kind in sees:
        told = result[kind.replace(", ", "_")]
        for size, each in told["mae_meV"].items():
            rows.append((kind, told["parameters"], int(size), each["mean"], told["turned_mae_meV"][size]["mean"]))
    return rows
