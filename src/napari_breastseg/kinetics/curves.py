"""Measures of time-intensity curves: percent enhancement, SER, slopes and curve types.

All take signals of shape ``(phase, ...)`` and work on every trailing axis at once. float32 stays float32; anything else is computed in
float64. Signals must be finite; then so is every result: where the baseline is not positive there is nothing to compare with, and all
measures are 0. PE = 100 (S - S0) / S0 and SER = (S_pe - S0) / (S_late - S0) as in UCSF's FTV extension of 3D Slicer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.timing import Timing
from napari_breastseg.phantom.contrast import CURVES, NO_UPTAKE, PERSISTENT, PLATEAU, WASHOUT

__all__ = [
    "CURVES",
    "NO_UPTAKE",
    "PERSISTENT",
    "PLATEAU",
    "WASHOUT",
    "CurveSummary",
    "Thresholds",
    "baseline",
    "curve_type",
    "delayed_change",
    "describe",
    "initial_rise",
    "percent_enhancement",
    "signal_enhancement_ratio",
    "wash_in",
    "wash_out",
]

Signals: TypeAlias = npt.NDArray[Any]
Values: TypeAlias = npt.NDArray[np.floating[Any]]
Rise: TypeAlias = Literal["slow", "medium", "fast"]
SER_LIMIT = 10.0
"""SER saturates here: where the late signal is back at the baseline, the ratio has no bound."""
_LEAST_RISE = 0.01
"""Least late enhancement, as a share of S0, that SER divides by."""
_LEAST_SHARE = 1e-6
"""A signal of less than this share of what it is compared with is no signal, and the ratio, which could overflow, is 0."""


@dataclass(frozen=True)
class Thresholds:
    """Where curve types begin, in percent.

    Parameters
    ----------
    uptake : float
        PE below which, in the early and the last phase, there is no uptake.
    change : float
        Change from the early to the last phase, relative to the early signal: above it persistent, below its negative wash-out.
    medium, fast : float
        PE of the early phase from which the initial rise is medium, and above which it is fast.

    Raises
    ------
    InputError
        If a threshold is negative, or fast lies below medium.
    """

    uptake: float = 20.0
    change: float = 10.0
    medium: float = 50.0
    fast: float = 100.0

    def __post_init__(self) -> None:
        if min(self.uptake, self.change, self.medium) < 0 or self.fast < self.medium:
            raise InputError("The thresholds of curve types cannot be negative, nor fast lie below medium. Correct them.")


def baseline(signals: Signals, timing: Timing) -> Values:
    """Return S0, the mean of the phases at or before the injection, shape (...).

    Raises
    ------
    InputError
        If the signals do not have one phase for each time.
    """
    mean: Values = _checked(signals, timing)[: len(timing.baseline)].mean(axis=0)
    return mean


def percent_enhancement(signal: Signals, s0: Signals) -> Values:
    """Return PE = 100 (S - S0) / S0 in percent, of the shape of `signal`; 0 where S0 is not positive."""
    return 100 * _ratio(signal - s0, s0)


def signal_enhancement_ratio(signals: Signals, timing: Timing) -> Values:
    """Return SER = (S_pe - S0) / (S_late - S0), shape (...), between -10 and 10.

    It is 0 where the signal does not rise from S0 to S_pe. Where it rises, but S_late is within 1 % of S0, that 1 % is divided by; where
    S_late falls below, SER is negative, as the definition has it, and FTV leaves the voxel out.

    Raises
    ------
    InputError
        If only one phase lies after the injection, or the signals do not have one phase for each time.
    """
    signals, s0 = _checked(signals, timing), baseline(signals, timing)
    rise, late = signals[timing.pe] - s0, signals[timing.ser_late] - s0
    least = _LEAST_RISE * np.abs(s0)
    late = np.where(np.abs(late) < least, least, late)
    ratio = np.divide(rise, late, out=np.zeros_like(rise), where=(rise > 0) & (s0 > _LEAST_SHARE * rise))
    result: Values = np.clip(ratio, -SER_LIMIT, SER_LIMIT)
    return result


def wash_in(signals: Signals, timing: Timing) -> Values:
    """Return the mean slope from the injection to the early phase, % of S0 per minute, shape (...)."""
    signals = _checked(signals, timing)
    rise = percent_enhancement(signals[timing.early], baseline(signals, timing))
    minutes = np.asarray(timing.seconds[timing.early] / 60, rise.dtype)
    return rise / minutes


def wash_out(signals: Signals, timing: Timing) -> Values:
    """Return the slope of the least-squares line from the early to the last phase, % of the early signal per minute, shape (...).

    Negative where the signal falls; 0 where the early signal is not positive.

    Raises
    ------
    InputError
        If only one phase lies after the injection, or the signals do not have one phase for each time.
    """
    signals = _checked(signals, timing)
    late = slice(timing.early, timing.last + 1)
    minutes = np.asarray(timing.seconds[late]) / 60
    away = minutes - minutes.mean()
    weights = (away / (away @ away)).astype(signals.dtype)
    early = signals[timing.early]
    return 100 * _ratio(np.tensordot(weights, signals[late] - early, axes=1), early)  # the difference, so that a constant has none


def delayed_change(signals: Signals, timing: Timing) -> Values:
    """Return the change from the early to the last phase, % of the early signal, shape (...); 0 where that is not positive.

    Raises
    ------
    InputError
        If only one phase lies after the injection, or the signals do not have one phase for each time.
    """
    signals = _checked(signals, timing)
    early, last = signals[timing.early], signals[timing.last]
    return 100 * _ratio(last - early, early)


def curve_type(signals: Signals, timing: Timing, thresholds: Thresholds | None = None) -> npt.NDArray[np.uint8]:
    """Return the curve type, an index into ``CURVES``, shape (...): 0 no uptake, 1 persistent, 2 plateau, 3 wash-out.

    The delayed course of the ACR's BI-RADS with the cut-offs in general use. Uptake is the larger PE of the early and the last phase: the
    largest of all phases would count the noise of each.

    Raises
    ------
    InputError
        If only one phase lies after the injection, or the signals do not have one phase for each time.
    """
    limits = thresholds or Thresholds()
    change = delayed_change(signals, timing)
    signals = _checked(signals, timing)
    highest = percent_enhancement(np.maximum(signals[timing.early], signals[timing.last]), baseline(signals, timing))
    types = np.full(change.shape, PLATEAU, np.uint8)
    types[change > limits.change] = PERSISTENT
    types[change < -limits.change] = WASHOUT
    types[highest < limits.uptake] = NO_UPTAKE
    return types


def initial_rise(pe: float, thresholds: Thresholds | None = None) -> Rise:
    """Name the initial rise by the PE of the early phase: slow below 50 %, medium to 100 %, fast above."""
    limits = thresholds or Thresholds()
    if pe < limits.medium:
        return "slow"
    return "medium" if pe <= limits.fast else "fast"


@dataclass(frozen=True)
class CurveSummary:
    """What can be said of one curve.

    Attributes
    ----------
    pe, pe_peak : float
        PE at the phase nearest to 150 s, and the highest of all phases after the injection, %.
    time_to_peak : float
        s after the injection of that highest phase.
    wash_in : float
        % of S0 per minute.
    initial : str
        "slow", "medium" or "fast".
    ser, wash_out, type : float, float, int, or None
        SER, % of the early signal per minute, and index into ``CURVES``; None where only one phase lies after the injection.
    words : str
        The same in a line.
    """

    pe: float
    pe_peak: float
    time_to_peak: float
    wash_in: float
    initial: Rise
    ser: float | None
    wash_out: float | None
    type: int | None
    words: str


def describe(curve: Signals, timing: Timing, thresholds: Thresholds | None = None) -> CurveSummary:
    """Describe one curve, shape (phase,).

    Raises
    ------
    InputError
        If the curve does not have one finite signal for each time.
    """
    values = _checked(np.asarray(curve, np.float64), timing)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError("A curve must be one finite signal for each phase. Leave out voxels that are no numbers.")
    pe = percent_enhancement(values, baseline(values, timing))
    peak = max(timing.after, key=lambda i: float(pe[i]))
    initial = initial_rise(float(pe[timing.early]), thresholds)
    ser, slope, kind = None, None, None
    words = f"{initial} initial rise ({pe[timing.early]:+.0f} % at {timing.seconds[timing.early]:.0f} s)"
    if timing.delayed:
        ser, slope = float(signal_enhancement_ratio(values, timing)), float(wash_out(values, timing))
        kind = int(curve_type(values, timing, thresholds))
        change = float(delayed_change(values, timing))
        words = f"{CURVES[kind]}: {words}, then {change:+.0f} % until {timing.seconds[timing.last]:.0f} s"
    if not timing.known:
        words += "; times assumed"
    return CurveSummary(
        pe=float(pe[timing.pe]), pe_peak=float(pe[peak]), time_to_peak=timing.seconds[peak],
        wash_in=float(wash_in(values, timing)), initial=initial, ser=ser, wash_out=slope, type=kind, words=words,
    )  # fmt: skip


def _checked(signals: Signals, timing: Timing) -> Values:
    """Return the signals in floating point."""
    if signals.ndim < 1 or signals.shape[0] != timing.phases:
        found = signals.shape[0] if signals.ndim else 0
        raise InputError(f"The signals have {found} phases, the times {timing.phases}. Give one time for each phase.")
    return signals if signals.dtype in (np.float32, np.float64) else signals.astype(np.float64)


def _ratio(numerator: Values, denominator: Values) -> Values:
    """Divide; 0 where the denominator is not positive, or nothing beside the numerator."""
    where = denominator > _LEAST_SHARE * np.abs(numerator)
    ratio: Values = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=where)
    return ratio
