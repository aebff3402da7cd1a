"""Motion without inertia in a heat bath, with a mobility that may depend on where one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.checks import positive
from thalweg.core.energy import Landscape, value_and_force
from thalweg.core.errors import InputError
from thalweg.core.space import AbstractSpace, Box, Signs
from thalweg.methods.sampler import AbstractSampler, AbstractSamplerState, free_step, refuse_spaces

SCHEMES = ("euler_maruyama", "leimkuhler_matthews")


class OverdampedState(AbstractSamplerState):
    """The point, its energy and force; a root of a constant mobility matrix, and the last noise if it is used twice."""

    x: PyTree
    value: Float[Array, ""]
    accepted: Float[Array, ""]
    tuning: None
    counts: None
    force: PyTree
    noise: Float[Array, " n"] | None
    root: Float[Array, "n n"] | None


def _arrays(mobility: Any) -> Any:
    return mobility if callable(mobility) else jax.tree.map(jnp.asarray, mobility)


class Overdamped(AbstractSampler):
    """Overdamped Langevin dynamics `dx = (M F + T div M) dt + sqrt(2 T M) dW`, in the sense of Ito.

    Nothing is refused, so that the law has an error that falls with `dt`: of first order for `euler_maruyama`, of
    second order for `leimkuhler_matthews`, which needs a constant mobility.

    **Arguments:**

    - `dt`: the time step, in units of `x^2` over energy and mobility.
    - `mobility`: a number, a pytree like `x` (a diagonal), a positive matrix over the raveled `x`, or a function of `x`
      that returns one of these.
    - `scheme`: one of the two; by default the second-order one wherever the mobility is constant.
    - `divergence`: `x -> div M`, a pytree like `x` with `sum_j dM_ij/dx_j`; by default by automatic differentiation,
      which costs as many derivatives as `x` has coordinates.

    **Source:** Ermak & McCammon, J. Chem. Phys. 69, 1352 (1978); Leimkuhler & Matthews, Appl. Math. Res. Express 2013,
    34 (2013).
    """

    dt: Float[Array, ""] = eqx.field(default=1e-2, converter=jnp.asarray)
    mobility: PyTree | Callable[[PyTree], PyTree] = eqx.field(default=1.0, converter=_arrays)
    scheme: str | None = None
    divergence: Callable[[PyTree], PyTree] | None = None

    bibtex: ClassVar[str] = """@article{leimkuhler2013rational,
  title={Rational construction of stochastic numerical methods for molecular sampling},
  author={Leimkuhler, Benedict and Matthews, Charles},
  journal={Applied Mathematics Research eXpress}, volume={2013}, pages={34--56}, year={2013}}"""

    def __check_init__(self):
        positive(self.dt, "the time step of Overdamped", "sample")
        if self.scheme not in (None, *SCHEMES):
            raise InputError(f"sample: Overdamped knows no scheme {self.scheme!r}: choose {' or '.join(SCHEMES)}.")
        if callable(self.mobility) and self.scheme == SCHEMES[1]:
            raise InputError(f"sample: {SCHEMES[1]} needs a constant mobility: choose {SCHEMES[0]}.")

    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> Overdamped:
        refuse_spaces(space, "Overdamped", (Box, Signs), "use Metropolis, which knows the walls")
        mobility = jax.eval_shape(self.mobility, x) if callable(self.mobility) else self.mobility
        kind(mobility, x)
        return self

    def init(self, energy, space, x, temperature, key) -> OverdampedState:
        value, force = value_and_force(energy, x)
        flat, _ = ravel_pytree(x)
        noise, root = None, None
        if self._twice:
            noise = jax.random.normal(key, flat.shape, flat.dtype)
        if not callable(self.mobility) and kind(self.mobility, x) == "matrix":
            root = jnp.linalg.cholesky(self.mobility.astype(flat.dtype))
        return OverdampedState(x, value, jnp.ones_like(value), None, None, force, noise, root)

    def step(self, energy, space, state: OverdampedState, temperature, key) -> OverdampedState:
        flat, unravel = ravel_pytree(state.x)
        free = ravel_pytree(free_step(space, state.x, jax.tree.map(jnp.ones_like, state.x)))[0]
        dt, temperature = self.dt.astype(flat.dtype), temperature.astype(flat.dtype)
        mobility = self._mobility(state.x)
        noise = jax.random.normal(key, flat.shape, flat.dtype)
        kick = noise if state.noise is None else (state.noise + noise) / 2
        pushed = dt * _times(mobility, free * ravel_pytree(state.force)[0])
        shaken = jnp.sqrt(2 * temperature * dt) * _root_times(mobility, state.root, kick)
        step = pushed + shaken
        if callable(self.mobility):
            step = step + dt * temperature * self._divergence(state.x, free)
        x = space.shift(state.x, unravel(step))
        value, force = value_and_force(energy, x)
        kept = None if state.noise is None else noise
        return OverdampedState(x, value, jnp.ones_like(value), None, None, force, kept, state.root)

    def counted(self, state: OverdampedState, steps: Int[Array, ""]) -> dict[str, Array]:
        return {}

    @property
    def _twice(self) -> bool:
        return self.scheme == SCHEMES[1] or (self.scheme is None and not callable(self.mobility))

    def _mobility(self, x: PyTree) -> Float[Array, "..."]:
        """The mobility at `x` over the raveled coordinates: a number, a diagonal or a matrix."""
        flat, _ = ravel_pytree(x)
        value = self.mobility(x) if callable(self.mobility) else self.mobility
        if kind(value, x) == "diagonal":
            spread = jax.tree.map(lambda part, like: jnp.broadcast_to(part, like.shape), value, x)
            return ravel_pytree(spread)[0].astype(flat.dtype)
        return jax.tree.leaves(value)[0].astype(flat.dtype)

    def _divergence(self, x: PyTree, free: Float[Array, " n"]) -> Float[Array, " n"]:
        """`sum_j dM_ij/dx_j` over the coordinates that are free to move."""
        flat, unravel = ravel_pytree(x)
        if self.divergence is not None:
            return ravel_pytree(self.divergence(x))[0].astype(flat.dtype)
        slopes = jax.jacfwd(lambda point: self._mobility(unravel(point)))(flat)
        if slopes.ndim == 3:
            return jnp.einsum("ijj,j->i", slopes, free)
        return free * (slopes if slopes.ndim == 1 else jnp.diagonal(slopes))


def kind(mobility: PyTree, x: PyTree) -> str:
    """Whether a mobility is a `number`, a `diagonal` like `x`, or a `matrix` over the raveled `x`.

    **Raises:** `InputError` if it is none of these.
    """
    size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(x))
    leaves = jax.tree.leaves(mobility)
    if len(leaves) == 1 and jnp.shape(leaves[0]) == ():
        return "number"
    if jax.tree.structure(mobility) == jax.tree.structure(x) and all(
        jnp.shape(part) in ((), jnp.shape(like)) for part, like in zip(leaves, jax.tree.leaves(x), strict=True)
    ):
        return "diagonal"
    if len(leaves) == 1 and jnp.shape(leaves[0]) == (size, size):
        return "matrix"
    shapes = [jnp.shape(leaf) for leaf in leaves]
    raise InputError(
        f"sample: a mobility of shape {shapes} fits no x of {size} coordinates: give a number, a pytree like x, or a "
        f"matrix of shape {(size, size)}."
    )


def _times(mobility: Float[Array, "..."], vector: Float[Array, " n"]) -> Float[Array, " n"]:
    return mobility @ vector if mobility.ndim == 2 else mobility * vector


def _root_times(
    mobility: Float[Array, "..."], root: Float[Array, "n n"] | None, vector: Float[Array, " n"]
) -> Float[Array, " n"]:
    if mobility.ndim < 2:
        return jnp.sqrt(mobility) * vector
    return (jnp.linalg.cholesky(mobility) if root is None else root) @ vector
