"""Line integrals of force fields along paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from thalweg.core.checks import floating, positive
from thalweg.core.energy import AbstractHostField, Landscape, force
from thalweg.core.errors import InputError
from thalweg.core.paths import AbstractPath, Curve, tangent
from thalweg.methods.descent import tree_dot
from thalweg.methods.quadrature import integrate

Field = Landscape | Callable[[Any], PyTree] | AbstractHostField


class Work(eqx.Module):
    """The work of a force field along a path.

    **Fields:** the `value`, the integral of F . dx; the estimated `error` of the quadrature, rounding included; the
    `absolute` work, the integral of |F . dx|; the field `evaluations`; whether the tolerance was `reached`.
    """

    value: Float[Array, "*batch"]
    error: Float[Array, "*batch"]
    absolute: Float[Array, "*batch"]
    evaluations: Int[Array, "*batch"]
    reached: Bool[Array, "*batch"]


def line_integral(field: Field, path: AbstractPath, tol: float | None, max_pieces: int, where: str) -> Work:
    """The work of `field` along `path`, checked and integrated on behalf of the function called `where`.

    **Raises:** `InputError` for a field that returns neither an energy nor a force, or an unusable path.
    """
    if not isinstance(path, Curve):  # whose function may hold arrays of any kind
        floating(path, where, "the path")
    start = floating(path(jnp.asarray(0.0, _width(path))), where, "the start of the path")
    tol = float(jnp.finfo(_dtype(start)).eps) ** (2 / 3) if tol is None else tol
    positive(tol, "tol", where)
    return _integrated(_as_force(field, start, where), path, path.breaks, jnp.asarray(tol, _dtype(start)), max_pieces)


@eqx.filter_jit
def _integrated(push: Callable, path: AbstractPath, breaks: tuple[float, ...], tol: Array, max_pieces: int) -> Work:
    def power(t: Float[Array, ""]) -> Float[Array, ""]:
        here, velocity = tangent(path, t)
        return tree_dot(push(here), velocity).astype(t.dtype)

    return Work(*integrate(power, breaks, tol.dtype, tol=tol, max_pieces=max_pieces))


def _width(path: AbstractPath) -> jnp.dtype:
    """The floating dtype in which `t` is counted: that of the path's own arrays."""
    leaves = [leaf for leaf in jax.tree.leaves(path) if eqx.is_inexact_array(leaf) or isinstance(leaf, float)]
    return jnp.result_type(*leaves) if leaves else jnp.result_type(float)


def _dtype(x: PyTree) -> jnp.dtype:
    return jnp.result_type(*jax.tree.leaves(x))


def _as_force(field: Field, x: PyTree, where: str) -> Callable[[PyTree], PyTree]:
    if isinstance(field, AbstractHostField):
        return eqx.Partial(_host_force, field)
    shapes = jax.eval_shape(field, x)
    if _shapes(shapes) == _shapes(x):
        if all(jnp.ndim(leaf) == 0 for leaf in jax.tree.leaves(x)):
            raise InputError(f"{where}: for a scalar x a field and an energy look alike: give x the shape [1].")
        return field
    if _shapes(jax.tree.leaves(shapes)) == _shapes([0.0]):
        return eqx.Partial(force, field)
    raise InputError(f"{where}: the field returns neither one number (an energy) nor the structure of x (a force).")


def _host_force(field: AbstractHostField, x: PyTree) -> PyTree:
    def ask(batch: PyTree) -> PyTree:
        many = jax.tree.map(np.asarray, batch)
        single = jax.tree.leaves(many)[0].ndim == jax.tree.leaves(x)[0].ndim
        if single:
            many = jax.tree.map(lambda leaf: leaf[None], many)
        forces = field.value_and_force_batch(many)[1]
        forces = jax.tree.map(lambda push, like: np.asarray(push, like.dtype), forces, many)
        return jax.tree.map(lambda leaf: leaf[0], forces) if single else forces

    # The nodes of one interval arrive as one batch: `expand_dims` hands the callback all of them at once.
    return jax.pure_callback(ask, jax.tree.map(_shape_of, x), x, vmap_method="expand_dims")


def _shapes(tree: PyTree) -> tuple[Any, list[tuple[int, ...]]]:
    return jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _shape_of(leaf: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
