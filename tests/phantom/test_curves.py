"""Curves of kinetic families: the published model, noise as asked for, and the same curves for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.phantom.curves import BASELINE, FAMILIES, make_curves

SECONDS = (-40.0, 70.0, 190.0, 310.0, 430.0)


def test_a_seed_gives_the_same_curves_and_another_seed_others() -> None:
    one, same, other = (make_curves(seed, SECONDS, 50) for seed in (1, 1, 2))
    assert np.array_equal(one.signals, same.signals) and np.array_equal(one.family, same.family)
    assert not np.array_equal(one.signals, other.signals)


def test_without_noise_each_curve_lies_between_those_of_the_ends_of_its_family_s_ranges() -> None:
    """Closed form of Fan et al. 2007, whose enhancement is monotonic in each of its parameters."""
    curves = make_curves(3, SECONDS, 200, snr=np.inf)
    enhancement = curves.signals.astype(np.float64) / curves.signals[0] - 1
    assert BASELINE[0] - 1e-3 <= curves.signals[0].min() and curves.signals[0].max() <= BASELINE[1] + 1e-3
    for index, family in enumerate(FAMILIES):
        mine = enhancement[:, curves.family == index]
        assert mine.shape == (len(SECONDS), 200)
        for row, seconds in zip(mine[1:], SECONDS[1:], strict=True):
            t = seconds / 60
            low, high = (
                a * (1 - np.exp(-alpha * t)) * np.exp(-beta * t)
                for a, alpha, beta in zip(family.amplitude, family.alpha, family.beta[::-1], strict=True)
            )
            assert low - 1e-5 <= row.min() and row.max() <= high + 1e-5


def test_the_noise_has_the_deviation_that_was_asked_for() -> None:
    """At this ratio Rician noise is all but normal, and the same signal comes with and without it."""
    clean, noisy = (make_curves(4, SECONDS, 20_000, snr) for snr in (np.inf, 50.0))
    assert (noisy.signals - clean.signals).std() == pytest.approx(np.mean(BASELINE) / 50, rel=0.02)


def test_nonsense_is_refused() -> None:
    for wrong in ({"voxels": 0}, {"snr": 0.0}, {"snr": float("nan")}):
        with pytest.raises(InputError, match="at least one voxel"):
            make_curves(0, SECONDS, **wrong)  # type: ignore[arg-type]
