"""PE, SER, slopes and curve types against closed forms and loops, and where signals are constant, zero or saturated."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import Thresholds, Timing, describe
from napari_breastseg.kinetics.curves import (
    NO_UPTAKE,
    PERSISTENT,
    PLATEAU,
    WASHOUT,
    baseline,
    curve_type,
    delayed_change,
    initial_rise,
    percent_enhancement,
    signal_enhancement_ratio,
    wash_in,
    wash_out,
)

TIMING = Timing((-60.0, 90.0, 150.0, 270.0, 450.0))
"""early 1, PE 2, SER's second 4, last 4."""
MEASURES = (signal_enhancement_ratio, wash_in, wash_out, delayed_change, curve_type)


def random_signals(seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(50, 400, (5, 3, 4))


def test_measures_are_those_of_an_enhancing_curve_in_closed_form() -> None:
    """S(t) = S0 (1 + A (1 - exp(-a t)) exp(-b t)), t in minutes."""
    s0, amplitude, alpha, beta = 120.0, 1.8, 2.0, 0.05

    def enhancement(seconds: float) -> float:
        t = max(seconds, 0) / 60
        return amplitude * (1 - math.exp(-alpha * t)) * math.exp(-beta * t)

    curve = np.array([s0 * (1 + enhancement(s)) for s in TIMING.seconds])
    e90, e150, e450 = enhancement(90), enhancement(150), enhancement(450)
    assert percent_enhancement(curve[2], baseline(curve, TIMING)) == pytest.approx(100 * e150)
    assert signal_enhancement_ratio(curve, TIMING) == pytest.approx(e150 / e450)
    assert wash_in(curve, TIMING) == pytest.approx(100 * e90 / 1.5)
    assert delayed_change(curve, TIMING) == pytest.approx(100 * (e450 - e90) / (1 + e90))


def test_a_line_gives_its_own_slope() -> None:
    """200 at 90 s and 4 less every minute: -2 % of the early signal per minute."""
    curve = np.array([100.0, *(200 - 4 * (s - 90) / 60 for s in TIMING.seconds[1:])])
    assert wash_out(curve, TIMING) == pytest.approx(-2.0)
    assert wash_in(curve, TIMING) == pytest.approx(100 / 1.5)


def test_wash_out_is_the_least_squares_line() -> None:
    signals = random_signals()
    minutes = np.array(TIMING.seconds[1:]) / 60
    expected = [100 * np.polyfit(minutes, curve[1:], 1)[0] / curve[1] for curve in signals.reshape(5, -1).T]
    np.testing.assert_allclose(wash_out(signals, TIMING).ravel(), expected)


def test_arrays_are_measured_as_their_curves_one_by_one() -> None:
    signals = random_signals(1)
    for measure in MEASURES:
        expected = [measure(curve, TIMING) for curve in signals.reshape(5, -1).T]
        np.testing.assert_allclose(measure(signals, TIMING).ravel(), expected, rtol=1e-12)


def test_the_baseline_is_the_mean_of_all_phases_before_the_injection() -> None:
    timing = Timing((-50.0, -30.0, 0.0, 100.0, 400.0))
    assert baseline(np.array([90.0, 100.0, 125.0, 300.0, 200.0]), timing) == pytest.approx(105.0)


def rise_then(change: float, early: float = 200.0) -> npt.NDArray[np.float64]:
    """A curve from 100 to `early`, and from there by `change` percent."""
    last = early * (1 + change / 100)
    return np.array([100.0, early, early, (early + last) / 2, last])


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (rise_then(10.5), PERSISTENT),
        (rise_then(9.5), PLATEAU),
        (rise_then(-9.5), PLATEAU),
        (rise_then(-10.5), WASHOUT),
        (rise_then(0, 119.0), NO_UPTAKE),
        (rise_then(0, 121.0), PLATEAU),
        (rise_then(20, 105.0), PERSISTENT),  # 5 % early, but 26 % in the end
        (rise_then(-20, 125.0), WASHOUT),  # 25 % early, and back at the baseline
        (rise_then(-30, 100.0), NO_UPTAKE),
        (np.array([134.0, 380, 352, 331, 316]), WASHOUT),  # the tumour of a real case: 380 to 316 is -17 %
    ],
)
def test_types_change_at_ten_percent_and_begin_at_twenty(curve: npt.NDArray[np.float64], expected: int) -> None:
    assert curve_type(curve, TIMING) == expected


def test_types_follow_thresholds_of_ones_own() -> None:
    assert curve_type(rise_then(-15), TIMING, Thresholds(change=20)) == PLATEAU
    assert curve_type(rise_then(-15), TIMING, Thresholds(uptake=150)) == NO_UPTAKE


@pytest.mark.parametrize(("pe", "expected"), [(49.9, "slow"), (50.0, "medium"), (100.0, "medium"), (100.1, "fast")])
def test_the_initial_rise_is_named_by_50_and_100_percent(pe: float, expected: str) -> None:
    assert initial_rise(pe) == expected


@pytest.mark.parametrize(
    ("curve", "pe", "kind"),
    [
        ([0, 0, 0, 0, 0], 0, NO_UPTAKE),
        ([7, 7, 7, 7, 7], 0, NO_UPTAKE),
        ([0, 100, 100, 100, 100], 0, NO_UPTAKE),  # nothing to compare with
        ([-3, 100, 100, 100, 100], 0, NO_UPTAKE),
        ([1e-40, 100, 100, 100, 100], 0, NO_UPTAKE),
        ([65535] * 5, 0, NO_UPTAKE),
        ([30000, 65535, 65535, 65535, 65535], 118.45, PLATEAU),
        ([100, 0, 0, 0, 0], -100, NO_UPTAKE),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_zero_and_saturated_voxels_have_finite_measures(curve: list[float], pe: float, kind: int, dtype: Any) -> None:
    signals = np.array(curve, dtype)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy warns of what it divides by zero or overflows
        values = [measure(signals, TIMING) for measure in MEASURES]
    assert all(np.isfinite(v).all() for v in values)
    assert values[-1] == kind
    assert percent_enhancement(signals[2], signals[0]) == pytest.approx(pe, abs=0.01)


def test_ser_saturates_at_the_baseline_and_is_negative_below() -> None:
    """The rise is 100; the late signal lies 10, 1/2, 0, -1/2 and -50 above the baseline of 100, of which 1 % is the least divisor."""
    late = np.array([110, 100.5, 100, 99.5, 50])
    signals = np.stack([np.full(5, v) for v in (100.0, 200, 200, 150)] + [late])
    np.testing.assert_allclose(signal_enhancement_ratio(signals, TIMING), [10, 10, 10, 10, -2])


def test_ser_is_zero_where_nothing_rises() -> None:
    assert signal_enhancement_ratio(np.array([100.0, 90, 90, 80, 80]), TIMING) == 0


def test_integers_do_not_wrap_around() -> None:
    curve = np.array([200, 100, 100, 100, 100], np.uint16)
    assert percent_enhancement(curve[2].astype(float), baseline(curve, TIMING)) == -50
    assert wash_in(curve, TIMING) == pytest.approx(-50 / 1.5)


def test_float32_stays_float32() -> None:
    signals = random_signals().astype(np.float32)
    assert {measure(signals, TIMING).dtype for measure in MEASURES[:-1]} == {np.dtype(np.float32)}
    assert baseline(signals, TIMING).dtype == np.float32


def test_a_curve_is_described_in_numbers_and_words() -> None:
    found = describe(np.array([134.0, 380, 352, 331, 316]), Timing((-1310.0, 61.0, 182.0, 305.0, 427.0)))
    assert found.pe == pytest.approx(100 * (352 - 134) / 134)
    assert found.pe_peak == pytest.approx(100 * (380 - 134) / 134)
    assert found.time_to_peak == 61.0
    assert found.ser == pytest.approx((352 - 134) / (316 - 134))
    assert (found.initial, found.type) == ("fast", WASHOUT)
    assert found.words == "wash-out: fast initial rise (+184 % at 61 s), then -17 % until 427 s"


def test_words_say_that_times_were_assumed() -> None:
    assert describe(rise_then(0), Timing(TIMING.seconds, known=False)).words.endswith("times assumed")


def test_one_phase_after_the_injection_is_described_without_type() -> None:
    found = describe(np.array([100.0, 180.0]), Timing((-60.0, 120.0)))
    assert (found.pe, found.initial, found.wash_in) == (pytest.approx(80), "medium", pytest.approx(40))
    assert found.ser is found.wash_out is found.type is None
    for measure in (signal_enhancement_ratio, wash_out, delayed_change, curve_type):
        with pytest.raises(InputError, match="two phases after the injection"):
            measure(np.array([100.0, 180.0]), Timing((-60.0, 120.0)))


def test_curves_that_do_not_fit_are_refused() -> None:
    for measure in MEASURES:
        with pytest.raises(InputError, match="4 phases, the times 5"):
            measure(np.ones((4, 2)), TIMING)
    with pytest.raises(InputError, match="one finite signal"):
        describe(np.array([1.0, 2.0, np.nan, 3.0, 4.0]), TIMING)
    with pytest.raises(InputError, match="one finite signal"):
        describe(np.ones((5, 2)), TIMING)


@pytest.mark.parametrize("settings", [{"uptake": -1.0}, {"change": -1.0}, {"medium": 120.0}])
def test_thresholds_without_meaning_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="thresholds"):
        Thresholds(**settings)
