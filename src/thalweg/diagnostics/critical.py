"""Where an order parameter is lost: Binder crossings and susceptibility peaks of several sizes, with their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key

from thalweg.core.errors import InputError
from thalweg.diagnostics.bootstrap import (
    FEWEST_BLOCKS,
    Estimate,
    block_length,
    estimated,
    in_blocks,
    multiplicities,
    widening,
)
from thalweg.diagnostics.reweighting import Histogram

Draws = Float[np.ndarray, "values draws chains"]


class Moments(eqx.Module):
    """The moments of the order parameter of one size.

    **Fields:** the control `values`; `first`, `second` and `fourth`, the means of |m|, m^2 and m^4 at each of them;
    `reweighted`, whether they are smooth functions of the control, told from the energies.
    """

    values: Float[np.ndarray, " values"]
    first: Estimate
    second: Estimate
    fourth: Estimate
    reweighted: bool = eqx.field(static=True, default=False)


def moments(
    order: Mapping[int, Draws],
    values: Any,
    *,
    energies: Mapping[int, Draws] | None = None,
    grid: Any = None,
    resamples: int = 400,
    key: Key[Array, ""],
) -> dict[int, Moments]:
    """The moments of an order parameter at each control value and size, with errors that respect autocorrelation.

    Draws are resampled in blocks of ten autocorrelation times. The same blocks are taken at all control values of a
    size, so that replicas which exchange their temperatures are treated rightly.

    **Arguments:**

    - `order`: for each linear size, the order parameter per site, signed or not, `[values, draws, chains]`.
    - `values`: the control values `[values]`, increasing (temperatures, where `energies` are given); or a mapping from
      size to them, because larger systems want a narrower range.
    - `energies`: of the same draws, extensive: the moments are then reweighted to the temperatures of `grid`.
    - `grid`: temperatures `[grid]` within reach of the draws; by default 101 between the first and the last value.
    - `resamples`: how many bootstrap resamples, drawn with `key`.

    **Raises:** `InputError` for unusable shapes or values, too few draws, or a grid out of reach.
    """
    if energies is None and grid is not None:
        raise InputError("critical: only energies carry draws to other temperatures: pass energies, or no grid.")
    keys = jax.random.split(key, len(_sizes(order)))
    found = {}
    for part, size in zip(keys, _sizes(order), strict=True):
        control = _values(values, size)
        draws = _checked(order[size], control, f"size {size}")
        length = block_length(draws, f"size {size}")
        if energies is None:
            blocks = in_blocks(_powers(draws), length).mean(axis=-1)
            found[size] = _plain(blocks, length, control, resamples, part)
        else:
            if size not in energies or np.shape(energies[size]) != draws.shape:
                raise InputError(f"critical: the energies of size {size} do not match its order parameter: pass both.")
            heat = _checked(energies[size], control, f"the energies of size {size}")
            wanted = _grid(control, grid)
            found[size] = _reweighted(draws, heat, control, wanted, length, resamples, part, f"size {size}")
    return found


def moments_from_averages(
    averages: Mapping[int, Float[np.ndarray, "values blocks 3"]],
    values: Any,
    *,
    resamples: int = 400,
    key: Key[Array, ""],
) -> dict[int, Moments]:
    """What `moments` returns, from averages of |m|, m^2 and m^4 over independent runs or long blocks.

    **Arguments:** `averages`, for each linear size `[values, blocks, 3]`; the others as in `moments`.

    **Raises:** `InputError` for unusable shapes or fewer than 16 blocks.
    """
    keys, found = jax.random.split(key, len(_sizes(averages))), {}
    for part, size in zip(keys, _sizes(averages), strict=True):
        control = _values(values, size)
        blocks = _checked(averages[size], control, f"size {size}")
        if blocks.shape[-1] != 3:
            raise InputError(f"critical: the averages of size {size} must be [values, blocks, 3]: |m|, m^2 and m^4.")
        if blocks.shape[1] < FEWEST_BLOCKS:
            raise InputError(f"critical: size {size} has {blocks.shape[1]} blocks: pass at least {FEWEST_BLOCKS}.")
        found[size] = _plain(np.moveaxis(blocks, -1, 0), 1, control, resamples, part)
    return found


def binder(of: Moments) -> Estimate:
    """The Binder cumulant `1 - <m^4> / (3 <m^2>^2)` at each control value: 2/3 in order, 0 in Gaussian disorder.

    **Source:** Binder, Z. Phys. B 43, 119 (1981).
    """
    value = 1 - of.fourth.value / (3 * of.second.value**2)
    return estimated(value, 1 - of.fourth.resampled / (3 * of.second.resampled**2), "the cumulant")


def susceptibility(of: Moments, sites: int) -> Estimate:
    """The susceptibility `sites (<m^2> - <|m|>^2) / T` at each control value, taken as a temperature."""

    def spread(first, second):
        return sites * (second - first**2) / of.values

    value = spread(of.first.value, of.second.value)
    return estimated(value, spread(of.first.resampled, of.second.resampled), "the susceptibility")


def _powers(draws: Draws) -> Float[np.ndarray, "3 values draws chains"]:
    return np.stack([np.abs(draws), draws**2, draws**4])


def _plain(blocks: Float[np.ndarray, "3 values blocks"], length: int, control, resamples: int, key) -> Moments:
    counts = multiplicities(key, blocks.shape[-1], resamples)
    again = np.moveaxis(blocks @ counts.T, -1, 1) / blocks.shape[-1]
    return _of(control, blocks.mean(axis=-1), again, widening(blocks.shape[-1], length), reweighted=False)


def _reweighted(draws, heat, control, grid, length: int, resamples: int, key, where: str) -> Moments:
    if not (control > 0).all() or not (grid > 0).all():
        raise InputError("critical: reweighting is between temperatures: the control values must be positive.")
    energies, observed = in_blocks(heat, length), in_blocks(_powers(draws), length)
    blocks = energies.shape[1]
    flat = observed.reshape(3, len(control), -1)
    histogram = Histogram(control, energies.reshape(len(control), -1), flat, grid)
    ones = np.ones(energies.size)
    means, free = histogram.averages(ones, np.zeros(len(control)), where, thin=True)
    again = np.empty((resamples, *means.shape))
    for index, counts in enumerate(multiplicities(key, blocks, resamples)):
        again[index], _ = histogram.averages(np.tile(np.repeat(counts, length), len(control)), free, where)
    return _of(grid, means, np.moveaxis(again, 0, 1), widening(blocks, length), reweighted=True)


def _of(
    control: Float[np.ndarray, " values"],
    means: Float[np.ndarray, "3 values"],
    again: Float[np.ndarray, "3 resamples values"],
    wide: float,
    reweighted: bool,
) -> Moments:
    if not (means[1] > 0).all():
        raise InputError("critical: the order parameter is zero in all draws of a control value: check the input.")
    again = means[:, None] + wide * (again - means[:, None])
    names = ("<|m|>", "<m^2>", "<m^4>")
    parts = [estimated(mean, some, name) for mean, some, name in zip(means, again, names, strict=True)]
    return Moments(control, *parts, reweighted=reweighted)


def _sizes(mapping: Mapping[int, Any]) -> list[int]:
    if not mapping:
        raise InputError("critical: there are no observations: pass a mapping from size to draws.")
    sizes = sorted(mapping)
    if not sizes[0] > 0:
        raise InputError(f"critical: the size {sizes[0]} is not positive: name each system by its linear size.")
    return sizes


def _values(values: Any, size: int) -> Float[np.ndarray, " values"]:
    if not isinstance(values, Mapping):
        return _increasing(values, "values")
    if size not in values:
        raise InputError(f"critical: there are no control values for size {size}: give them for every size.")
    return _increasing(values[size], "values")


def _increasing(values: Any, name: str) -> Float[np.ndarray, " values"]:
    control = np.asarray(values, np.float64)
    if control.ndim != 1 or control.size == 0 or not np.isfinite(control).all() or not (np.diff(control) > 0).all():
        raise InputError(f"critical: the control {name} must be one increasing list of numbers: sort them, once each.")
    return control


def _grid(control: Float[np.ndarray, " values"], grid: Any) -> Float[np.ndarray, " grid"]:
    if grid is not None:
        return _increasing(grid, "grid")
    if len(control) < 2:
        raise InputError("critical: one temperature says nothing of the range wanted: pass a grid around it.")
    return np.linspace(control[0], control[-1], 101)


def _checked(draws: Any, control: Float[np.ndarray, " values"], where: str) -> Draws:
    draws = np.asarray(draws, np.float64)
    if draws.ndim != 3 or len(draws) != len(control):
        raise InputError(
            f"critical: {where} has the shape {draws.shape}, but it must be [{len(control)} values, draws, chains]."
        )
    if not np.isfinite(draws).all():
        raise InputError(f"critical: {where} holds draws that are not finite: find the step that broke the chain.")
    return draws
