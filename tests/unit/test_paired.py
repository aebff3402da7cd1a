"""Paired differences: their interval, and their exact test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.diagnostics.paired import holm, paired


def test_paired_differences_and_their_exact_test():
    from scipy.stats import permutation_test
    from scipy.stats import ttest_1samp as student

    values = np.random.default_rng(3).normal(0.5, 1.0, 9)
    theirs: Any = student(values, 0.0)
    ours, every = paired(values), 10**6  # patterns, more than there are
    np.testing.assert_allclose([ours.low, ours.high], theirs.confidence_interval(0.95), rtol=1e-10)
    exact = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=every).pvalue
    assert ours.p == pytest.approx(exact, abs=1e-12)
    many = np.concatenate([values, values, values])
    t_test: Any = student(many, 0.0)
    sampled, known = paired(many).p, t_test.pvalue
    # Of 65,536 patterns the share has a standard error below 0.002; the tests themselves differ by less than that.
    assert abs(sampled - known) < 0.01
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    with pytest.raises(InputError, match="two finite cases at least"):
        paired(np.array([1.0]))
