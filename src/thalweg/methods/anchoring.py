"""Springs from the parameters to where they began, as a part of an optimiser: penalties against forgetting."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from thalweg.core.checks import traced
from thalweg.core.errors import InputError

BIBTEX = """@inproceedings{li2018explicit,
  title={Explicit Inductive Bias for Transfer Learning with Convolutional Networks},
  author={Li, Xuhong and Grandvalet, Yves and Davoine, Franck},
  booktitle={Proceedings of the 35th International Conference on Machine Learning}, pages={2825--2834}, year={2018}}
@article{kirkpatrick2017overcoming,
  title={Overcoming catastrophic forgetting in neural networks},
  author={Kirkpatrick, James and Pascanu, Razvan and Rabinowitz, Neil and Veness, Joel and Desjardins, Guillaume and
    Rusu, Andrei A. and Milan, Kieran and Quan, John and Ramalho, Tiago and Grabska-Barwinska, Agnieszka and others},
  journal={Proceedings of the National Academy of Sciences}, volume={114}, pages={3521--3526}, year={2017}}"""


class AnchorState(NamedTuple):
    """The `anchor`, the `weights` of its springs (`None` where all are one), and their `strength`."""

    anchor: PyTree
    weights: PyTree
    strength: Float[Array, ""]


def pull_to(
    anchor: PyTree, strength: float | Float[Array, ""], weights: PyTree = None
) -> optax.GradientTransformationExtraArgs:
    """Add the slope of `strength sum_i weight_i (x_i - anchor_i)^2 / 2` to the gradients.

    Place it before the optimiser. With weights of one this is L2-SP, with the diagonal of the Fisher information it is
    elastic weight consolidation.

    **Arguments:** `anchor`, a pytree like the parameters; `strength`, at least 0, in units of the loss over those of
    `x^2` and of the weights; `weights`, like the anchor.

    **Returns:** a transformation that holds its numbers in its state: others of the same shapes compile nothing anew.

    **Raises:** `InputError` for a negative strength.

    **Source:** Li, Grandvalet & Davoine, ICML 2018, 2825; Kirkpatrick et al., PNAS 114, 3521 (2017).
    """
    if not traced(strength) and not float(strength) >= 0:
        raise InputError(f"anchoring: a strength of {strength} would push away from the anchor: give at least 0.")
    arrays = lambda tree: eqx.filter(tree, eqx.is_inexact_array)  # noqa: E731
    init: Any = _Init(arrays(anchor), arrays(weights), jnp.asarray(strength))
    update: Any = _update
    return optax.GradientTransformationExtraArgs(init, update)


class _Init(eqx.Module):
    """Makes the state; a pytree, whose numbers need no new compilation."""

    anchor: PyTree
    weights: PyTree
    strength: Array

    def __call__(self, params: PyTree) -> AnchorState:
        return AnchorState(self.anchor, self.weights, self.strength)

    def __hash__(self) -> int:  # for `jax.jit`, which asks functions for it: those that hold arrays have none
        return id(self)


def _update(updates: PyTree, state: AnchorState, params: PyTree = None, **extra: Any) -> tuple[PyTree, AnchorState]:
    if params is None:
        raise InputError("anchoring: a spring must know where the parameters are: pass them to `update`.")

    def pulled(slope: Array, here: Array, there: Array, weight: Any = None) -> Array:
        away = state.strength.astype(slope.dtype) * (here - there)
        return slope + (away if weight is None else weight.astype(slope.dtype) * away)

    springs = () if state.weights is None else (state.weights,)
    return jax.tree.map(pulled, updates, params, state.anchor, *springs), state
