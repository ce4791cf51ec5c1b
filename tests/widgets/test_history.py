"""What the timeline is made of: versions by number, pictures, words, and readings of which the last counts."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import Prediction
from napari_breastseg.session import Edit, Session, Version
from napari_breastseg.widgets.desk.reading import Reading
from napari_breastseg.widgets.parts.history import History, read_history
from napari_breastseg.widgets.parts.thumbnails import ADDED, REMOVED, SIZE, TUMOUR_COLOUR, thumbnail
from napari_breastseg.widgets.parts.words import one_line, when


def record(session: Session, case_id: str, value: int) -> None:
    box = ((5, 6), (4, 10), (4, 12))
    session.record(case_id, Edit(box, np.ones((1, 6, 8), bool), value, "brush", session.seq(case_id)))


def predict(session: Session, case_id: str, tumour: bool = True) -> None:
    mask = np.zeros(session.case(case_id).shape, np.uint8)
    mask[3:9, 4:12, 5:15] = tumour
    session.add_prediction(case_id, Prediction("ab" * 32, mask.astype(np.float32), mask, mask))


def test_an_edit_lies_over_the_prediction_that_there_was_then(session: Session, case_id: str) -> None:
    assert read_history(session, case_id).version_at(0) == Version(0, None)
    record(session, case_id, 1)
    predict(session, case_id)
    record(session, case_id, 0)
    predict(session, case_id)
    history = read_history(session, case_id)
    assert [history.version_at(seq) for seq in range(3)] == [Version(0, None), Version(1, None), Version(2, 2)]
    assert history.now == Version(2, 2)
    record(session, case_id, 1)
    assert read_history(session, case_id).version_at(2) == Version(2, 1)
    assert read_history(session, None).moments == History().moments


def test_pictures_show_what_was_added_removed_and_predicted(session: Session, case_id: str) -> None:
    case = session.case(case_id)
    record(session, case_id, 1)
    predict(session, case_id)
    record(session, case_id, 0)
    predict(session, case_id, tumour=False)
    added, predicted, removed, nothing = (thumbnail(session, case_id, case, moment) for moment in session.timeline(case_id))
    for picture in (added, predicted, removed, nothing):
        assert (picture.shape, picture.dtype) == ((SIZE, SIZE, 3), np.uint8)
        assert picture.std() > 5
    for picture, colour in ((added, ADDED), (predicted, TUMOUR_COLOUR), (removed, REMOVED)):
        tint = (picture - picture.mean(axis=2, keepdims=True)).mean(axis=(0, 1))
        assert np.corrcoef(tint, np.array(colour) - np.mean(colour))[0, 1] > 0.95
    assert (nothing == nothing[..., :1]).all()


def test_words_are_short_and_times_local() -> None:
    assert one_line("a\n<b>  c", 6) == "a <b>…"
    now = datetime.now(UTC)
    local = now.astimezone()
    assert when(now.isoformat()) == f"{local:%H:%M}"
    noon = datetime(2020, 3, 4, 12, tzinfo=UTC).astimezone()
    assert when("2020-03-04T12:00:00+00:00", "2020-03-04T12:30:00+00:00").startswith(f"{noon.day} Mar, ")
    assert " to " in when((now - timedelta(days=400)).isoformat(), (now - timedelta(days=400) + timedelta(minutes=5)).isoformat())
    assert when("yesterday") == when("9999-99-99") == "at an unknown time"


@pytest.mark.qt
def test_of_readings_under_one_name_the_last_counts(qtbot: Any, notices: list[str]) -> None:
    reading, gate, used = Reading(), threading.Event(), []
    reading.ask("a", lambda: gate.wait(30), lambda _: used.append("first"))
    for number in range(3):
        reading.ask("b", lambda number=number: number, used.append)  # type: ignore[misc]
    reading.ask("a", lambda: "again", used.append)
    assert reading.busy and reading.asks("a")
    with qtbot.waitSignal(reading.ended, timeout=30_000):
        gate.set()
    assert used == [2, "again"]
    reading.ask("c", lambda: 1 / 0, used.append)
    qtbot.waitUntil(lambda: not reading.busy, timeout=30_000)
    assert len(notices) == 1 and "ZeroDivisionError" in notices[0]
    reading.ask("d", lambda: "forgotten", used.append)
    reading.close()
    reading.ask("e", lambda: "closed", used.append)
    qtbot.wait(50)
    assert used == [2, "again"]
    assert not reading.busy
