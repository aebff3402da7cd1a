"""Closure under refinement: honest fields close, however stiff; broken ones do not, however fine one looks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.diagnostics.refinement import Refined, refine
from thalweg.diagnostics.segments import Curves
from thalweg.interop import HostField

pytestmark = pytest.mark.usefixtures("x64")
COUNT, SIZE = 6, 8
NAMES = ("plain", "kinked", "steep", "needle")


def curves(dtype: type = np.float64) -> Curves:
    words = np.random.default_rng(1)
    start, end = words.uniform(0, 1, (2, COUNT, SIZE))
    corner = words.uniform(0, 1, (COUNT, SIZE))
    bulge = np.where(np.arange(COUNT)[:, None] % 2, 0.5 * (corner - 0.5 * (start + end)), 0.0)
    return Curves(*(leaf.astype(dtype) for leaf in (start, end, bulge)))


def sigmoid(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


def landscape(name: str) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """A number made of a layer, with its true gradient: smooth, kinked, or with steps down to a width of 1e-6."""
    words = np.random.default_rng(3)
    weight, out = words.normal(size=(SIZE, 24)), words.normal(size=24)
    steep = {"steep": 1e3, "needle": 1e6}.get(name, 1.0)

    def both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = x @ weight.astype(x.dtype) - np.asarray(0.1, x.dtype)
        if name == "plain":
            h, slope = np.tanh(z), 1 - np.tanh(z) ** 2
        elif name == "kinked":
            h, slope = np.maximum(z, 0), (z > 0).astype(x.dtype)
        else:
            h = sigmoid(np.asarray(steep, x.dtype) * z)
            slope = np.asarray(steep, x.dtype) * h * (1 - h)
        return h @ out.astype(x.dtype), (slope * out.astype(x.dtype)) @ weight.T.astype(x.dtype)

    return both


def quantised(levels: int) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    true = landscape("plain")
    return lambda x: true(np.round(x * (levels - 1)) / (levels - 1))


def altered(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    def both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = landscape("plain")(x)
        return value, change(slope).astype(x.dtype)

    return both


BROKEN = {
    "quantised 8": (quantised(8), 0.5),
    "quantised 256": (quantised(256), 0.1),
    "dead": (altered(np.zeros_like), 0.99),
    "scaled": (altered(lambda slope: 1.05 * slope), 0.04),
    "flipped": (altered(np.negative), 1.5),
    "cut": (altered(lambda slope: np.clip(slope, -1, 1)), 0.01),
    "partly stopped": (altered(lambda slope: slope * (np.arange(SIZE) > 0)), 0.01),
}


def refined(both: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], dtype: type = np.float64, **more) -> Refined:
    return refine(HostField(both), curves(dtype), **more)


# In float32 the needle is as narrow as a unit in the last place: a jump.
HONEST = [(name, dtype) for name in NAMES for dtype in (np.float64, np.float32)][:-1]


@pytest.mark.parametrize(("name", "dtype"), HONEST)
def test_an_honest_field_closes_however_stiff(name, dtype):
    found = refined(landscape(name), dtype)
    assert (found.mismatch <= 1e-4 * found.climb).all()  # a tenth of what an audit calls inconsistent
    assert not found.flat.any()
    if name in ("plain", "kinked"):
        # The bars of the room, smooth in float64 and with kinks; and each segment may stop at what rounding hides.
        hidden = 0.5 * found.gradients[-1] * found.rounding if dtype == np.float32 else 0
        bar = {"plain": 1e-9, "kinked": 2e-3}[name]
        assert (np.abs(found.gaps[-1]) <= bar * np.abs(found.fall) + hidden).all()
        assert (found.gradients[-1] <= 256).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_field_leaves_a_mismatch_at_every_scale(name, dtype):
    both, least = BROKEN[name]
    found = refined(both, dtype)
    share = found.mismatch / found.climb
    assert np.median(share) > least
    assert (share > 1e-3).mean() >= 5 / 6


def test_the_mismatch_is_what_is_missing():
    found = refined(altered(lambda slope: 1.1 * slope))
    # Every segment misses a tenth, and the climb is that of the work, which is the larger one.
    np.testing.assert_allclose(found.mismatch / found.climb, 0.1 / 1.1, rtol=1e-3)  # what the mesh leaves of the climb
    np.testing.assert_allclose(found.work, 1.1 * found.fall, rtol=1e-3)  # halved for the mismatch, not for the error
    assert (np.abs(found.spread) <= 1e-3 * found.mismatch).all()


def test_stiff_curves_get_more_gradients_and_others_do_not():
    stiff, smooth = refined(landscape("needle"), most=4096), refined(landscape("plain"), most=4096)
    assert stiff.gradients.max() > 256 >= smooth.gradients.max()
    first = list(stiff.gradients.max(axis=1)).index(stiff.gradients.max(axis=1)[stiff.gradients.max(axis=1) <= 256][-1])
    assert np.median(np.abs(stiff.gaps[-1])) < 0.1 * np.median(np.abs(stiff.gaps[first]))


def test_the_answer_of_a_curve_depends_neither_on_its_company_nor_on_the_batch():
    both, seeds = quantised(32), [(7, k) for k in range(COUNT)]
    whole = refine(HostField(both), curves(), seeds=seeds)
    part = refine(HostField(both), Curves(*(leaf[2:4] for leaf in curves())), seeds=seeds[2:4], batch=17)
    for name in ("work", "fall", "mismatch", "rounding"):
        # NumPy's product of matrices sums in another order for another batch.
        np.testing.assert_allclose(getattr(whole, name)[2:4], getattr(part, name), rtol=1e-9, atol=1e-12)


def test_each_curve_may_have_an_energy_of_its_own_and_configurations_any_shape():
    words = np.random.default_rng(0)
    start, end = words.normal(size=(2, COUNT, 5, 3))

    def of(factors: np.ndarray) -> HostField:
        def both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            apart = x[:, :, None] - x[:, None]
            inverse = 1 / (1 + (apart**2).sum(axis=-1))
            slope = -4 * (apart * inverse[..., None] ** 2).sum(axis=2)
            return factors * inverse.sum(axis=(1, 2)), factors[:, None, None] * slope

        return HostField(both)

    factors = np.arange(1.0, COUNT + 1)
    found = refine(lambda which: of(factors[which]), Curves(start, end, np.zeros_like(start)))
    alone = refine(of(np.ones(128)), Curves(start, end, np.zeros_like(start)))
    np.testing.assert_allclose(found.fall, factors * alone.fall, rtol=1e-9)
    assert (np.abs(found.gaps[-1]) <= 1e-9 * found.climb).all()
    assert found.asked >= 17 * COUNT


def test_what_cannot_be_compared_is_said():
    with pytest.raises(InputError, match="31 gradients per curve are too few: allow at least 32"):
        refined(landscape("plain"), gradients=31)
    holes = altered(lambda slope: np.where(slope > slope.max() - 1e-12, np.nan, slope))
    with pytest.raises(InputError, match=r"the energy or its gradient is not finite on the curve one: mend them"):
        refined(holes, names=["one"] * COUNT)
    level = refined(lambda x: (np.ones(len(x)), np.zeros_like(x)))
    assert level.flat.all()
    assert (level.mismatch == 0).all()
