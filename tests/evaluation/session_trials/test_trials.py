"""The promises of a session hold under every trial; the command runs them in larger numbers."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from napari_breastseg.evaluation.session_trials.bit_flips import bit_flips
from napari_breastseg.evaluation.session_trials.contention import two_processes
from napari_breastseg.evaluation.session_trials.disk_full import full_disks
from napari_breastseg.evaluation.session_trials.kills import kills
from napari_breastseg.evaluation.session_trials.order import flush_order
from napari_breastseg.evaluation.session_trials.power import power_cuts
from napari_breastseg.evaluation.session_trials.trial import Trial
from napari_breastseg.progress import Job, run


def outcome(job: Job[Trial]) -> Trial:
    trial = run(job)
    if trial.skipped:
        pytest.skip(trial.skipped)
    assert trial.met, (trial.aims, trial.problems)
    assert not trial.problems
    return trial


@pytest.mark.parametrize("count", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_or_torn_by_kills(tmp_path: Path, count: int) -> None:
    figures = outcome(kills(tmp_path, count)).figures
    assert figures["edits_acknowledged"] > count
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("count", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_or_torn_by_power_cuts(tmp_path: Path, count: int) -> None:
    assert outcome(power_cuts(tmp_path, count)).figures["edits_acknowledged"] > 0


def test_every_acknowledged_edit_was_flushed_and_no_rename_comes_before_its_flush(tmp_path: Path) -> None:
    assert outcome(flush_order(tmp_path)).met


@pytest.mark.parametrize("count", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_a_full_disk_refuses_in_words_and_work_goes_on_when_there_is_space(tmp_path: Path, count: int) -> None:
    assert outcome(full_disks(tmp_path, count)).figures["refused"]["edit"] == count


def test_of_two_processes_one_writes_and_by_force_neither_damages_an_edit(tmp_path: Path) -> None:
    assert outcome(two_processes(tmp_path, 40)).figures["commits"] == 80


@pytest.mark.parametrize("count", [9, pytest.param(60, marks=pytest.mark.slow)])
def test_no_flipped_bit_is_silent_and_none_is_mended_wrongly(tmp_path: Path, count: int) -> None:
    assert outcome(bit_flips(tmp_path, count)).figures["flips"] == count
