"""`find_path`: the path of least energy between two points, with its saddles."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive, traced
from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Hook
from thalweg.core.refresh import refreshing
from thalweg.core.solution import Outcome
from thalweg.core.space import AbstractSpace, Box, Euclidean, Signs, innermost
from thalweg.methods.band import AbstractBand, BandState, asked, begin, gaps, go_on, whole_chain
from thalweg.methods.descent import refuse_walls, tree_norm
from thalweg.methods.drive import Walk, drive
from thalweg.methods.registry import named
from thalweg.verbs.ending import sentence
from thalweg.verbs.passes import Pass, chain_of, passes
from thalweg.verbs.relax import reachable, relax


class Path(eqx.Module):
    """A path of least energy.

    **Fields:**

    - `images`: the configurations along it, ends included, with a leading axis; their `energies`, and the `arc` length
      at each, from 0.
    - `saddles`: the saddles on it, in order, each a `Pass` with the two minima that it was seen to lead to.
    - `barrier`, `reverse_barrier`: the highest saddle over the energy at `a` and at `b`; of the band's highest image
      where no saddle was found. `band_barrier`: the highest image over `a`.
    - `connected`: whether the minima of the saddles form an unbroken chain from below `a` to below `b`.
    - `outcome`: how the band ended, `Outcome.code`; `stats`: `steps`, `residual`, `force_norms` at the two ends and
      `seconds`.
    """

    images: PyTree
    energies: Float[Array, " images"]
    arc: Float[Array, " images"]
    saddles: tuple[Pass, ...]
    barrier: Float[Array, ""]
    reverse_barrier: Float[Array, ""]
    band_barrier: Float[Array, ""]
    connected: bool
    outcome: Int[Array, ""]
    stats: dict[str, Any]

    @property
    def done(self) -> bool:
        """Whether the band converged and each of its tops led to a saddle."""
        return int(self.outcome) == Outcome.DONE.code and all(top.solution.done for top in self.saddles)

    @property
    def sentence(self) -> str:
        """The ending in words, with what the saddles say."""
        words = [Outcome.of(int(self.outcome)).value]
        lost = sum(not top.solution.done for top in self.saddles)
        if lost:
            words.append(f"{lost} of {len(self.saddles)} saddle searches from the tops of the band did not arrive.")
        if not self.saddles:
            words.append(
                "No image is higher than both of its neighbours: there is no barrier, or too few images see it."
            )
        elif not self.connected:
            words.append("The saddles do not form an unbroken chain of minima from a to b: use more images.")
        return " ".join(words)


@eqx.filter_jit
def _begun(band: AbstractBand, energy: Landscape, space: AbstractSpace, ends, heights, x: PyTree) -> BandState:
    return begin(band, space, ends, heights, x, asked(energy, x))


def _advance(band, energy: Landscape, space: AbstractSpace, ends, heights, walk: BandState) -> BandState:
    return go_on(band, space, ends, heights, walk, asked(energy, walk.state.trial))


_begin_compiled = eqx.filter_jit(begin)
_go_on_compiled = eqx.filter_jit(go_on)


def _begun_on_host(band, field: AbstractHostField, space, ends, heights, x: PyTree) -> BandState:
    return _begin_compiled(band, space, ends, heights, x, asked(field, x))


def _advance_on_host(band, field: AbstractHostField, space, ends, heights, walk: BandState) -> BandState:
    return _go_on_compiled(band, space, ends, heights, walk, asked(field, walk.state.trial))


@eqx.filter_jit
def _judge(tol: Float[Array, ""], settle: int, walk: BandState) -> Int[Array, ""]:
    finite = jnp.isfinite(walk.residual) & jnp.all(jnp.isfinite(walk.values))
    # Not before the climber has climbed, so that the highest image is the saddle.
    done = (walk.residual < tol) & (walk.count > settle)
    going = jnp.where(done, Outcome.DONE.code, Outcome.WALKING.code)
    return jnp.where(finite, going, Outcome.NONFINITE.code)


@eqx.filter_jit
def _straight(space: AbstractSpace, a: PyTree, b: PyTree, shares: Float[Array, " inner"]) -> PyTree:
    step = space.displacement(a, b)
    return jax.vmap(lambda t: space.shift(a, jax.tree.map(lambda s: t.astype(s.dtype) * s, step)))(shares)


@eqx.filter_jit
def _measured(energy: Landscape, space: AbstractSpace, x: PyTree) -> tuple[Array, Array]:
    check_scalar(energy, jax.tree.map(lambda leaf: leaf[0], x), "find_path")
    return _norms(space, x, asked(energy, x))


@eqx.filter_jit
def _norms(space: AbstractSpace, x: PyTree, known: tuple[Array, PyTree]) -> tuple[Array, Array]:
    return known[0], jax.vmap(lambda here, push: tree_norm(space.project(here, push)))(x, known[1])


def find_path(
    energy: Landscape | AbstractHostField,
    a: PyTree,
    b: PyTree,
    method: AbstractBand | str | None = None,
    *,
    images: int = 11,
    initial: PyTree | None = None,
    space: AbstractSpace | None = None,
    tol: float | None = None,
    max_steps: int = 5000,
    relax_ends: bool = False,
    saddles: bool = True,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Path:
    """Find the path of least energy from `a` to `b`, and the saddles on it.

    A band of images is relaxed between the ends. Then each image that is higher than its neighbours starts a
    `find_saddle`, and from each saddle two relaxations on either side show which minima it joins.

    **Arguments:**

    - `energy`: any callable from a pytree to a scalar; or a host field, asked for all images in one batch.
    - `a`, `b`: the ends, of one structure. They are taken as they are, and `barrier` counts from them; where they are
      not at rest (`stats["force_norms"]`), `connected` speaks of the minima below them. `relax_ends=True` relaxes them.
    - `method`: a band, or its name (`band`, the default, or `string`).
    - `images`: their number, ends included; `initial`: a first path instead of the straight one, every leaf with a
      leading axis of images; its first and last are replaced by `a` and `b`.
    - `space`: where the images live, without walls: a path goes the shortest way round.
    - `tol`: bound on the force that an image on a path of least energy would not have; by default eps^0.2 of the
      dtype (7e-4 in float64): the saddles are refined to the tolerance of `find_saddle` afterwards.
    - `max_steps` of the band, at most; `saddles=False` leaves it at the band.
    - `throw`, `on_chunk`: as in `relax`; hooks hear of the band.

    **Returns:** a `Path`.

    **Raises:** `InputError` for unusable or equal ends; `WalkError` for a band or a saddle search that did not arrive.
    """
    space = Euclidean() if space is None else space
    band: AbstractBand = named("find_path", method or "band") if method is None or isinstance(method, str) else method
    a, b = _checked(energy, a, b, space, tol, max_steps)
    if relax_ends:
        a, b = (relax(energy, end, space=space, throw=throw).value for end in (a, b))
    x = _inner(space, a, b, images, initial)
    host = isinstance(energy, AbstractHostField)
    pair = jax.tree.map(lambda *two: jnp.stack(two), a, b)
    heights, pushes = _norms(space, pair, asked(energy, pair)) if host else _measured(energy, space, pair)
    tol = reachable(a) ** 0.5 if tol is None else tol
    begun: Any = _begun_on_host if host else _begun
    step: Any = _advance_on_host if host else _advance
    arguments: Any = (band, energy, space, (a, b), heights)
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    judge = eqx.Partial(_judge, jnp.asarray(tol, heights.dtype), band.settle)
    end = drive(eqx.Partial(step, *arguments), begun(*arguments, x), max_steps, judge=judge, host=host, hooks=hooks)
    walk: BandState = end.state
    whole = whole_chain((a, b), walk.state.x)
    found = passes(energy, space, whole, walk.values) if saddles and _worthwhile(end) else ()
    joined = chain_of(energy, space, a, b, found)
    return _concluded(_path(space, whole, walk, end, found, joined, pushes), end, hooks, throw)


def _worthwhile(end: Walk) -> bool:
    return int(end.outcome) in (Outcome.DONE.code, Outcome.STEPS.code)


def _path(space, whole, walk: BandState, end: Walk, found: tuple[Pass, ...], connected: bool, pushes: Array) -> Path:
    lengths = jnp.linalg.norm(_gaps(space, whole), axis=1)
    arc = jnp.concatenate([jnp.zeros_like(lengths[:1]), jnp.cumsum(lengths)])
    top = jnp.max(walk.values)
    arrived = [saddle.solution.energy for saddle in found if saddle.solution.done]
    highest = jnp.max(jnp.stack(arrived)) if arrived else top
    first, last = walk.values[0], walk.values[-1]
    stats = {"steps": end.step, "residual": walk.residual, "force_norms": pushes, "seconds": end.seconds}
    return Path(
        whole, walk.values, arc, found, highest - first, highest - last, top - first, connected, end.outcome, stats
    )


_gaps = eqx.filter_jit(gaps)


def _concluded(path: Path, end: Walk, hooks: tuple[Hook, ...], throw: bool) -> Path:
    if not throw or path.done:
        return path
    if int(path.outcome) != Outcome.DONE.code:
        raise WalkError(sentence(end, "find_path", hooks), path)  # pyright: ignore[reportArgumentType]
    raise WalkError(f"find_path: {path.sentence}", path)  # pyright: ignore[reportArgumentType]


def _checked(
    energy: Any, a: PyTree, b: PyTree, space: AbstractSpace, tol: Any, max_steps: int
) -> tuple[PyTree, PyTree]:
    if traced(energy, a, b, space, tol):
        raise InputError("find_path: it looks at its band from the host: call it outside of jit and vmap.")
    if refreshing(energy):
        raise InputError("find_path: an energy with lists keeps them for one configuration: pass it without lists.")
    refuse_walls(space, "find_path", (Box, Signs))
    a, b = floating(a, "find_path", "a"), floating(b, "find_path", "b")
    shapes = [(jax.tree.structure(x), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(x)]) for x in (a, b)]
    if shapes[0] != shapes[1]:
        raise InputError("find_path: a and b differ in structure, shape or dtype: pass two points of one space.")
    fits(space, a, "find_path")
    a, b = space.wrap(a), space.wrap(b)
    if tol is not None:
        positive(tol, "tol", "find_path")
    if max_steps < 0:
        raise InputError(f"find_path: max_steps is {max_steps}, but it must not be negative.")
    return a, b


def _inner(space: AbstractSpace, a: PyTree, b: PyTree, images: int, initial: PyTree | None) -> PyTree:
    """The inner images to begin with, once the ends are known to be two points that the space can join."""
    dtype = jnp.result_type(*jax.tree.leaves(a))
    size, distance = float(tree_norm(a)), float(tree_norm(space.displacement(a, b)))
    close = 100 * float(jnp.finfo(dtype).eps) * max(size, 1.0)
    if distance <= close:
        raise InputError("find_path: a and b are the same point: pass two different minima.")
    # The same step without what holds coordinates: whatever it has more of is frozen.
    held = jax.tree.map(jnp.subtract, innermost(space).displacement(a, b), space.displacement(a, b))
    if float(tree_norm(held)) > close:
        raise InputError("find_path: a and b differ in coordinates that are frozen: make these equal first.")
    if initial is None:
        if images < 3:
            raise InputError(f"find_path: images is {images}, but a band needs at least 3, ends included.")
        return _straight(space, a, b, jnp.linspace(0, 1, images, dtype=dtype)[1:-1])
    return _given(space, a, initial)


def _given(space: AbstractSpace, a: PyTree, initial: PyTree) -> PyTree:
    path = floating(initial, "find_path", "initial")
    inner = jax.tree.map(lambda leaf: leaf[1:-1], path)
    same = jax.tree.structure(path) == jax.tree.structure(a) and all(
        many.ndim == one.ndim + 1 and many.shape[1:] == one.shape and many.dtype == one.dtype
        for many, one in zip(jax.tree.leaves(path), jax.tree.leaves(a), strict=True)
    )
    counts = {leaf.shape[0] for leaf in jax.tree.leaves(path) if leaf.ndim}
    if not same or len(counts) != 1 or min(counts) < 3:
        raise InputError(
            "find_path: initial must hold images like a: the same structure, shapes and dtypes, with a leading axis of "
            "at least 3 images on every leaf."
        )
    return jax.vmap(space.wrap)(inner)
