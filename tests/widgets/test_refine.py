"""Refining in the dock: the prediction follows the strokes, and is taken back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import REFINED_WITH, Case, Geometry
from napari_breastseg.widgets.dock import BreastSegWidget

from .conftest import FakeLoop, paint

pytestmark = pytest.mark.qt


def enabled(dock: BreastSegWidget) -> tuple[bool, bool]:
    row = dock.correct.refine
    return row.refine.isEnabled(), row.back.isEnabled()


def mask(dock: BreastSegWidget) -> Any:
    return dock.desk.painter.layer.data


def test_a_stroke_is_followed_taken_back_and_stays(predicted: BreastSegWidget, settled: Any, open_dock: Any) -> None:
    assert enabled(predicted) == (False, False)
    paint(predicted, (9, 3, 3))
    assert enabled(predicted) == (True, False)  # at once, not when it is saved
    own = mask(predicted).copy()
    assert own[9, 3, 3] == 1 and own[9, 3].sum() < own.shape[2]
    predicted.correct.refine.refine.click()
    assert enabled(predicted) == (False, False)
    settled(predicted)
    assert (mask(predicted)[9, 3] == 1).all() and enabled(predicted) == (True, True)
    assert REFINED_WITH in predicted.desk.view.layer("probability").metadata
    session, case_id = predicted.desk.session, predicted.desk.case_id
    np.testing.assert_array_equal(session.mask(case_id), mask(predicted))
    predicted.correct.refine.back.click()
    settled(predicted)
    np.testing.assert_array_equal(mask(predicted), own)
    assert enabled(predicted) == (True, False) and session.seq(case_id) == 1
    assert REFINED_WITH not in predicted.desk.view.layer("probability").metadata
    predicted.correct.refine.refine.click()
    settled(predicted)
    folder = session.path
    predicted.shut()
    again = open_dock()
    again.desk.open_session(folder)
    settled(again)
    assert (mask(again)[9, 3] == 1).all() and enabled(again) == (True, True)
    again.predict.predict.click()
    settled(again)
    np.testing.assert_array_equal(mask(again), own)
    assert enabled(again) == (True, False)


def test_an_undo_after_refining_is_explained(predicted: BreastSegWidget, settled: Any) -> None:
    row = predicted.correct.refine
    paint(predicted, (9, 3, 3))
    settled(predicted)
    row.refine.click()
    settled(predicted)
    assert not row.hint.isVisibleTo(predicted.correct)
    predicted.correct.undo.click()
    settled(predicted)
    assert row.hint.isVisibleTo(predicted.correct) and "Refine again" in row.hint.text() and enabled(predicted) == (True, True)
    row.back.click()
    settled(predicted)
    assert not row.hint.isVisibleTo(predicted.correct)


def test_only_strokes_that_were_followed_are_missed(predicted: BreastSegWidget, settled: Any, loop: FakeLoop, qtbot: Any) -> None:
    row = predicted.correct.refine
    paint(predicted, (9, 3, 3))
    paint(predicted, (9, 5, 3))
    settled(predicted)
    loop.endless = True
    row.refine.click()
    qtbot.waitUntil(lambda: row.bar.message.text() == "Waiting", timeout=60_000)
    predicted.correct.undo.click()  # while what it follows is on its way
    qtbot.waitUntil(lambda: predicted.desk.journal.idle, timeout=60_000)
    loop.endless = False
    settled(predicted)
    assert row.hint.isVisibleTo(predicted.correct)
    row.refine.click()
    settled(predicted)
    assert not row.hint.isVisibleTo(predicted.correct)
    paint(predicted, (9, 7, 3))
    predicted.correct.undo.click()
    settled(predicted)
    assert not row.hint.isVisibleTo(predicted.correct), "this one was never followed"


def test_a_single_image_offers_no_refining(open_dock: Any, settled: Any, sessions: Any, tiny_case: Case) -> None:
    dock = open_dock()
    geometry = Geometry((1.0, 1.0, 1.0), np.eye(4), (24, 20, 1))
    image = np.random.default_rng(0).normal(size=(1, 1, 20, 24)).astype(np.float32)
    for case, offered in ((Case("scan", image, geometry, modality="ultrasound"), False), (tiny_case, True)):
        dock.desk.use_case(case, sessions / "both")
        settled(dock)
        assert dock.correct.refine.isVisibleTo(dock.correct) == offered


def test_a_refinement_is_cancelled_or_fails_and_changes_nothing(
    predicted: BreastSegWidget, settled: Any, loop: FakeLoop, notices: list[str], qtbot: Any
) -> None:
    paint(predicted, (9, 3, 3))
    settled(predicted)
    loop.endless = True
    row = predicted.correct.refine
    row.refine.click()
    qtbot.waitUntil(lambda: row.bar.message.text() == "Waiting", timeout=60_000)
    assert row.bar.isVisibleTo(predicted.correct)
    paint(predicted, (9, 5, 3))  # meanwhile
    own = mask(predicted).copy()
    row.bar.cancel.click()
    settled(predicted)
    assert loop.closed[-1] == "refine" and not row.bar.isVisibleTo(predicted.correct)
    np.testing.assert_array_equal(mask(predicted), own)
    loop.endless, loop.error = False, RuntimeError("a pipe burst")
    row.refine.click()
    settled(predicted)
    assert len(notices) == 1 and enabled(predicted) == (True, False)
    np.testing.assert_array_equal(mask(predicted), own)
    assert len(predicted.desk.session.predictions(predicted.desk.case_id)) == 1
