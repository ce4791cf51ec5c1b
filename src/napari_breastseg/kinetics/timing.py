"""When each phase was taken, counted from the injection of contrast, and which phases the kinetic measures use.

PE and SER are defined at about 150 s and 450 s after the injection, as for the functional tumour volume of UCSF (Breast DCE-MRI FTV, an
extension of 3D Slicer). Curve types start from the phase nearest to 90 s, where clinical protocols place the first one after the injection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError

EARLY_S, PE_S, LATE_S = 90.0, 150.0, 450.0
"""Where the initial phase of a curve type, PE and the second phase of SER belong, s after the injection."""
PE_TOLERANCE_S, LATE_TOLERANCE_S = 30.0, 60.0
"""How far from that the phases of an FTV may lie to be called so: our choice, a quarter to a half of a usual phase; UCSF states none."""
ASSUMED_DELAY_S = 60.0
"""Assumed from the injection to the middle of the one phase after it, if no interval between phases says more."""
NOMINAL_STEP_S = 90.0
"""Step of the protocol that is assumed for a case without times: a phase at -60 s, then at 90, 180, 270, ... s."""
FAST_SERIES = 10
"""A series of more phases than this is a fast one: several of its phases may lie before the injection."""


@dataclass(frozen=True)
class Timing:
    """Seconds of every phase after the injection, and what follows from them.

    Parameters
    ----------
    seconds : tuple of float
        One for each phase, strictly increasing; those at or before 0 are the baseline.
    known : bool
        Whether slopes and times can be relied on. False where a nominal protocol stands for missing times, or where the injection could
        lie anywhere among the phases of a fast series.
    notes : tuple of str
        What was assumed, for people.

    Raises
    ------
    InputError
        If the seconds do not increase, or no phase lies before or none after the injection.
    """

    seconds: tuple[float, ...]
    known: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not np.isfinite(self.seconds).all() or any(b <= a for a, b in zip(self.seconds, self.seconds[1:], strict=False)):
            raise InputError(f"The phase times {_list(self.seconds)} do not increase. Check the order of the phases.")
        if not self.baseline or not self.after:
            which = "before" if not self.baseline else "after"
            raise InputError(
                f"No phase lies {which} the injection (phases at {_list(self.seconds)} from it). "
                "Kinetics need at least one before and one after it: correct the time of the injection, or load the complete series."
            )

    @property
    def phases(self) -> int:
        """Number of phases."""
        return len(self.seconds)

    @property
    def baseline(self) -> tuple[int, ...]:
        """Phases at or before the injection; their mean is S0."""
        return tuple(i for i, s in enumerate(self.seconds) if s <= 0)

    @property
    def after(self) -> tuple[int, ...]:
        """Phases after the injection."""
        return tuple(i for i, s in enumerate(self.seconds) if s > 0)

    @property
    def delayed(self) -> bool:
        """Whether there are two phases after the injection, as SER, wash-out and the curve type need."""
        return len(self.after) > 1

    @property
    def early(self) -> int:
        """Initial phase of a curve type: nearest to 90 s, but never the last of several."""
        return self._nearest(EARLY_S, self.after[:-1] or self.after)

    @property
    def pe(self) -> int:
        """Phase of PE: nearest to 150 s, but never the last of several, so that SER has a later one."""
        return self._nearest(PE_S, self.after[:-1] or self.after)

    @property
    def ser_late(self) -> int:
        """Second phase of SER: nearest to 450 s among those after PE's.

        Raises
        ------
        InputError
            If only one phase lies after the injection.
        """
        self._need_delayed()
        return self._nearest(LATE_S, range(self.pe + 1, self.phases))

    @property
    def last(self) -> int:
        """Delayed phase of a curve type: the last.

        Raises
        ------
        InputError
            If only one phase lies after the injection.
        """
        self._need_delayed()
        return self.phases - 1

    @property
    def ftv_name(self) -> str:
        """What a tumour volume by the UCSF definition may be called with these phases: "FTV" or "FTV-like"."""
        return "FTV" if self.known and self._near_ftv else "FTV-like"

    @property
    def ftv_reason(self) -> str:
        """Why it is called so."""
        if not self.known:
            return "the times of the phases after the injection are not known"
        place = f"the phases lie {self.seconds[self.pe]:.0f} s and {self.seconds[self.ser_late]:.0f} s after the injection"
        if not self._near_ftv:
            return f"{place}, not {PE_S:.0f} s and {LATE_S:.0f} s"
        return f"{place}, within {PE_TOLERANCE_S:.0f} s and {LATE_TOLERANCE_S:.0f} s of {PE_S:.0f} s and {LATE_S:.0f} s"

    @property
    def _near_ftv(self) -> bool:
        early, late = abs(self.seconds[self.pe] - PE_S), abs(self.seconds[self.ser_late] - LATE_S)
        return early <= PE_TOLERANCE_S and late <= LATE_TOLERANCE_S

    def _nearest(self, seconds: float, phases: Iterable[int]) -> int:
        return min(phases, key=lambda i: abs(self.seconds[i] - seconds))

    def _need_delayed(self) -> None:
        if not self.delayed:
            raise InputError("SER, wash-out and the curve type need two phases after the injection, not one. Load the complete series.")


def timing_of(case: Case, injection: float | None = None) -> Timing:
    """Return when the phases of a case were taken; see :func:`timing_from`.

    Raises
    ------
    InputError
        If the case has one phase, or its times and the injection do not fit.
    """
    if case.phases < 2:
        raise InputError(f"{case.name} has one phase. Kinetics need one before and one after the injection: load the complete series.")
    return timing_from(case.times, case.phases, injection)


def timing_from(times: Sequence[float], phases: int, injection: float | None = None) -> Timing:
    """Count the times of phases from the injection.

    A clock that starts at 0, or passes it between two phases, is taken to count from the injection. Otherwise the injection is taken to be
    half of the interval between phases before the first phase after it: scanners note when a phase starts, its contrast is that of its
    middle, and contrast is injected as the first of these phases starts. UCSF's FTV extension assumes the same. That first phase is the one
    at 0, from which clocks often count, or else the second.

    Parameters
    ----------
    times : sequence of float
        Seconds of the phases on any clock; empty if not known.
    phases : int
        Number of phases.
    injection : float, optional
        When contrast was injected, s on the same clock.

    Raises
    ------
    InputError
        If the times do not increase, are not one for each phase, or leave no phase on one side of the injection; if an injection is
        given without times; or if there is one phase.
    """
    if not times:
        return _nominal(phases, injection)
    if len(times) != phases:
        raise InputError(f"{len(times)} phase times were given for {phases} phases. Give one time per phase.")
    if phases < 2:
        raise InputError("There is one phase. Kinetics need one before and one after the injection: load the complete series.")
    if injection is not None:
        return _from(times, injection)
    if times[0] == 0:
        return _from_first(times)
    if times[0] < 0 < times[-1] and 0 not in times:
        return _from(times, 0.0)
    return _from_interval(times)


def _from(times: Sequence[float], injection: float, known: bool = True, *notes: str) -> Timing:
    return Timing(tuple(float(t - injection) for t in times), known, notes)


def _from_first(times: Sequence[float]) -> Timing:
    """Place the injection at the first phase, where the clock starts."""
    if len(times) <= FAST_SERIES:
        note = "The clock of the phases starts at 0 with the first phase; the injection is taken to be then. Give its time if it was later."
        return _from(times, 0.0, True, note)
    note = (
        f"{len(times)} phases, whose clock starts at 0 with the first: several may lie before the injection. It is taken to be at the "
        "first phase, which alone is then the baseline. Give the time of the injection."
    )
    return _from(times, 0.0, False, note)


def _from_interval(times: Sequence[float]) -> Timing:
    """Place the injection by the interval between the phases after it, but never before the last of the baseline."""
    told = 0 in times
    first = list(times).index(0) if told else 1
    between = np.diff(times[first:])
    delay = float(np.median(between)) / 2 if len(between) else ASSUMED_DELAY_S
    injection = max(times[first] - delay, times[first - 1])
    why = "half of the interval between phases" if len(between) else "there is no interval between phases to tell"
    known = told or len(times) <= FAST_SERIES
    note = (
        f"The time of the injection is not known; it is taken to be {times[first] - injection:.0f} s before phase {first}, the first "
        f"after it ({why}; phases count from 0)."
    )
    more = "" if known else " In a series of so many phases it may be later. Give the time of the injection."
    return _from(times, injection, known, note + more)


def _nominal(phases: int, injection: float | None) -> Timing:
    if injection is not None:
        raise InputError(f"An injection at {injection:g} s says nothing without the times of the phases. Give the times too.")
    if phases < 2:
        raise InputError("There is one phase. Kinetics need one before and one after the injection: load the complete series.")
    seconds = (-60.0, *(NOMINAL_STEP_S * i for i in range(1, phases)))
    note = (
        f"The phases have no times; {_list(seconds[:3])}{', ...' if phases > 3 else ''} after the injection are assumed. "
        "PE, SER and curve types hold for the phases as they are; slopes per minute do not. "
        "Give the times in a JSON file beside the images, or with --times."
    )
    return Timing(seconds, False, (note,))


def _list(seconds: Sequence[float]) -> str:
    return ", ".join(f"{s:g}" for s in seconds) + " s"
