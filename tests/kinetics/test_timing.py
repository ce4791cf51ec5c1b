"""When phases were taken after the injection, what is assumed where nothing is known, and which phases the measures use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import Timing, timing_from, timing_of

DUKE = (-1371.1, 0.0, 121.4, 244.1, 365.6)
"""The clock of a real case: it counts from the start of the first phase after the injection."""
FAST = tuple(16.43 * i for i in range(25))


def test_times_count_from_an_injection_that_is_given() -> None:
    timing = timing_from((1000.0, 1100.0, 1190.0, 1280.0), 4, injection=1050.0)
    assert timing.seconds == (-50.0, 50.0, 140.0, 230.0)
    assert timing.baseline == (0,) and timing.after == (1, 2, 3)
    assert timing.known and not timing.notes


def test_a_phase_at_the_injection_is_baseline() -> None:
    assert timing_from((0.0, 40.0, 80.0, 160.0), 4, injection=40.0).baseline == (0, 1)


def test_a_clock_that_passes_zero_after_the_first_phase_counts_from_the_injection() -> None:
    timing = timing_from((-84.0, 61.0, 178.0), 3)
    assert timing.seconds == (-84.0, 61.0, 178.0)
    assert timing.known and not timing.notes


def test_a_clock_that_starts_at_zero_is_taken_to_start_with_the_injection_and_says_so() -> None:
    timing = timing_from((0.0, 90.0, 180.0), 3)
    assert timing.seconds == (0.0, 90.0, 180.0)
    assert timing.known and "taken to be then" in timing.notes[0]


def test_without_injection_half_an_interval_lies_before_the_second_phase() -> None:
    """Intervals of 121.4, 122.7 and 121.5 s, whose median is 121.5 s."""
    timing = timing_from(DUKE, 5)
    np.testing.assert_allclose(timing.seconds, np.array(DUKE) + 121.5 / 2)
    assert timing.baseline == (0,) and timing.known
    assert "61 s before phase 1, the first after it" in timing.notes[0]


def test_a_clock_that_passes_zero_between_two_phases_counts_from_the_injection_however_many_lie_before() -> None:
    timing = timing_from([-45.0 + 16 * i for i in range(24)], 24)
    assert timing.baseline == (0, 1, 2) and timing.seconds[3] == 3.0
    assert timing.known and not timing.notes


def test_the_phase_at_zero_is_the_first_after_the_injection_if_others_lie_before() -> None:
    timing = timing_from((-200.0, -100.0, 0.0, 80.0, 160.0), 5)
    assert timing.seconds == (-160.0, -60.0, 40.0, 120.0, 200.0)
    assert "40 s before phase 2" in timing.notes[0]


def test_two_phases_have_no_interval_and_sixty_seconds_are_assumed() -> None:
    assert timing_from((500.0, 700.0), 2).seconds == (-140.0, 60.0)


def test_the_first_phase_is_baseline_however_long_the_interval() -> None:
    """Half of 100 s before the second phase would lie before the first."""
    assert timing_from((10.0, 20.0, 120.0, 220.0), 4).seconds == (0.0, 10.0, 110.0, 210.0)


def test_without_times_a_nominal_protocol_is_flagged() -> None:
    timing = timing_from((), 5)
    assert timing.seconds == (-60.0, 90.0, 180.0, 270.0, 360.0)
    assert not timing.known and timing.ftv_name == "FTV-like"
    assert "are assumed" in timing.notes[0] and "not known" in timing.ftv_reason


def test_a_fast_series_of_unknown_injection_is_flagged_and_is_not_once_it_is_given() -> None:
    assert not timing_from(FAST, 25).known
    assert not timing_from([t + 5 for t in FAST], 25).known
    told = timing_from(FAST, 25, injection=60.0)
    assert told.known and told.baseline == (0, 1, 2, 3)
    assert told.early == 9 and told.seconds[9] == pytest.approx(87.87)


@pytest.mark.parametrize(
    ("seconds", "early", "pe", "late"),
    [
        ((-60, 90, 180, 270, 360, 450, 540), 1, 2, 5),
        ((-1310, 61, 182, 305, 427), 1, 2, 4),
        ((-30, 30, 60, 90, 120, 150, 180), 3, 5, 6),
        ((-60, 60, 160), 1, 1, 2),  # 160 s would be nearer, but SER needs a later phase
        ((-60, 30, 80), 1, 1, 2),
        ((-60, 400, 700), 1, 1, 2),
    ],
)
def test_the_phases_nearest_to_90_150_and_450_seconds_are_used(seconds: tuple[float, ...], early: int, pe: int, late: int) -> None:
    timing = Timing(seconds)
    assert (timing.early, timing.pe, timing.ser_late, timing.last) == (early, pe, late, len(seconds) - 1)


def test_one_phase_after_the_injection_gives_pe_and_no_ser() -> None:
    timing = Timing((-60.0, 120.0))
    assert timing.pe == timing.early == 1 and not timing.delayed
    for name in ("ser_late", "last", "ftv_name", "ftv_reason"):
        with pytest.raises(InputError, match="two phases after the injection"):
            getattr(timing, name)


@pytest.mark.parametrize(
    ("pe", "late", "name"),
    [(150, 450, "FTV"), (120, 390, "FTV"), (180, 510, "FTV"), (119, 450, "FTV-like"), (181, 450, "FTV-like"), (150, 511, "FTV-like")],
)
def test_ftv_keeps_its_name_within_30_and_60_seconds(pe: float, late: float, name: str) -> None:
    assert Timing((-60.0, pe, late)).ftv_name == name


def test_the_reason_says_where_the_phases_lie() -> None:
    timing = timing_from(DUKE, 5)
    assert timing.ftv_name == "FTV-like"
    assert timing.ftv_reason == "the phases lie 182 s and 426 s after the injection, not 150 s and 450 s"
    assert "within 30 s" in Timing((-60.0, 150.0, 450.0)).ftv_reason


@pytest.mark.parametrize(
    ("times", "phases", "injection", "words"),
    [
        ((0.0, 90.0), 3, None, "2 phase times were given for 3 phases"),
        ((0.0, 90.0, 80.0), 3, None, "do not increase"),
        ((0.0, 90.0, float("nan")), 3, 10.0, "do not increase"),
        ((0.0, 90.0, 180.0), 3, -10.0, "No phase lies before the injection"),
        ((0.0, 90.0, 180.0), 3, 180.0, "No phase lies after the injection"),
        ((0.0, 90.0, 180.0), 3, float("nan"), "do not increase"),
        ((), 3, 10.0, "without the times of the phases"),
        ((), 1, None, "one phase"),
        ((5.0,), 1, None, "one phase"),
    ],
)
def test_times_that_do_not_fit_are_refused_in_a_sentence(
    times: tuple[float, ...], phases: int, injection: float | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        timing_from(times, phases, injection)


def test_a_case_is_timed_by_its_own_times(tiny_case: Case) -> None:
    assert timing_of(tiny_case).seconds == (0.0, 90.0, 180.0)
    assert timing_of(tiny_case, injection=30.0).seconds == (-30.0, 60.0, 150.0)
    with pytest.raises(InputError, match="tiny has one phase"):
        timing_of(replace(tiny_case, images=tiny_case.images[:1], times=()))
