"""Learning in the dock: it is watched, judged in words, overruled or taken back; what it changed is seen; the next case is found."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox

from napari_breastseg.case import Case, Prediction
from napari_breastseg.loop import changes as changing
from napari_breastseg.loop import queue as queueing
from napari_breastseg.loop.queue import Suggestion
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import RoundRow, Session
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.parts.learn_figures import measured, verdict
from napari_breastseg.widgets.parts.time_left import TimeLeft
from napari_breastseg.widgets.parts.where import SCHEDULER, Where

from .conftest import FIGURES, FakeLoop, paint, use

pytestmark = pytest.mark.qt
OLD, NEW = (slice(4, 6), slice(5, 9), slice(6, 10)), (slice(5, 7), slice(5, 9), slice(6, 10))
"""What two versions see: 16 voxels gained in the slice 6, 16 lost in the slice 4."""


@pytest.fixture
def corrected(predicted: BreastSegWidget, settled: Any) -> BreastSegWidget:
    """A case with a stroke; no prediction follows a round, so that what the round says stays in front."""
    paint(predicted, (9, 3, 3))
    settled(predicted)
    predicted.learn.again.setChecked(False)
    return predicted


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the dock asked before it used a refused version: it is answered with yes."""
    found: list[bool] = []

    def question(*words: object) -> QMessageBox.StandardButton:
        found.append("case 3 fell from 0.81 to 0.72" in str(words[-1]))
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", question)
    return found


@pytest.fixture
def versions_see(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the versions of a model predict OLD and, if learned, NEW; returns which cases were predicted."""
    seen: list[str] = []

    def predict(case: Case, model: Any, device: str) -> Job[Prediction]:
        seen.append(case.name)
        yield Progress(1, 2, "Refining")
        mask = np.zeros(case.shape, np.uint8)
        mask[NEW if b'"parent": null' not in model.path.with_suffix(".json").read_bytes() else OLD] = 1
        return Prediction(model.sha, mask.astype(np.float32), mask, mask)

    monkeypatch.setattr(changing, "predict", predict)
    monkeypatch.setattr(changing, "load_model", lambda path: SimpleNamespace(path=path, sha=path.stem))
    return seen


def learn(dock: BreastSegWidget, settled: Any) -> None:
    dock.learn.learn.click()
    settled(dock)


def table(dock: BreastSegWidget) -> list[list[str]]:
    found = dock.learn.gate.table
    return [[found.item(line, column).text().strip() for column in range(4)] for line in range(found.rowCount())]


def seen(dock: BreastSegWidget, widget: Any) -> bool:
    """Whether a part of Learn would be seen in an open window."""
    return bool(widget.isVisibleTo(dock.learn))


def test_loss_and_figures_are_seen_while_it_runs(corrected: BreastSegWidget, loop: FakeLoop, settled: Any, qtbot: Any) -> None:
    loop.endless = True
    section = corrected.learn
    section.learn.click()
    qtbot.waitUntil(lambda: section.curve.losses == list(loop.losses), timeout=60_000)
    qtbot.waitUntil(lambda: section.bar.message.text() == "Waiting", timeout=60_000)
    assert seen(corrected, section.curve) and seen(corrected, section.bar)
    assert "go on correcting" in section.hint.text()
    assert not any(seen(corrected, control) for control in (section.overrule, section.back, section.figures, section.gate.table))
    loop.endless = False
    settled(corrected)
    assert not seen(corrected, section.curve)
    assert table(corrected) == [
        ["Corrections met", "0.500", "0.900 ▲", "0.400"],
        ["Kept-back ones", "0.500", "0.750 ▲", "–"],
        ["Replay set", "0.750", "0.750", "0.760"],
        ["three", "0.810", "0.720 ▼", "0.600"],
    ]


def test_a_refusal_is_said_with_its_reason_and_can_be_overruled(
    corrected: BreastSegWidget, loop: FakeLoop, settled: Any, asked: list[bool]
) -> None:
    loop.adopted, loop.reasons = False, ("case 3 fell from 0.81 to 0.72",)
    learn(corrected, settled)
    section, session = corrected.learn, corrected.desk.session
    assert "Not adopted:</b> case 3 fell from 0.81 to 0.72. The model stays as it was" in section.hint.text()
    assert seen(corrected, section.gate.table) and seen(corrected, section.overrule) and not seen(corrected, section.back)
    (row,) = session.rounds()
    assert session.current_model == row.parent
    section.overrule.click()
    settled(corrected)
    assert asked == [True]
    assert session.current_model == row.candidate
    assert [event.kind for event in session.events() if event.kind == "overruled"] == ["overruled"]
    assert "use it anyway, and that is recorded" in section.hint.text()
    assert seen(corrected, section.back) and not seen(corrected, section.overrule)


def test_overruling_is_the_persons_own_wish(
    corrected: BreastSegWidget, loop: FakeLoop, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.adopted = False
    learn(corrected, settled)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    corrected.learn.overrule.click()
    settled(corrected)
    (row,) = corrected.desk.session.rounds()
    assert corrected.desk.session.current_model == row.parent


def test_after_an_adoption_there_is_a_way_back(corrected: BreastSegWidget, settled: Any) -> None:
    learn(corrected, settled)
    section, session = corrected.learn, corrected.desk.session
    (row,) = session.rounds()
    assert session.current_model == row.candidate
    assert "Adopted:" in section.hint.text() and "held-out" in section.hint.text()
    section.back.click()
    settled(corrected)
    assert session.current_model == row.parent
    assert "another version is in use" in section.hint.text()
    assert not seen(corrected, section.back)


def test_another_version_predicts_again_if_that_is_wished(corrected: BreastSegWidget, loop: FakeLoop, settled: Any, qtbot: Any) -> None:
    session, case_id = corrected.desk.session, corrected.desk.case_id
    corrected.learn.again.setChecked(True)
    corrected.learn.learn.click()
    qtbot.waitUntil(lambda: len(session.predictions(case_id)) == 2, timeout=60_000)
    settled(corrected)
    loop.adopted = False
    learn(corrected, settled)
    assert len(session.predictions(case_id)) == 2


def test_the_last_round_is_told_of_when_the_session_is_opened_again(
    corrected: BreastSegWidget, loop: FakeLoop, settled: Any, open_dock: Any, asked: list[bool]
) -> None:
    loop.adopted, loop.reasons = False, ("case 3 fell from 0.81 to 0.72",)
    learn(corrected, settled)
    viewer = corrected.desk.viewer
    corrected.shut()
    viewer.layers.clear()
    dock = open_dock(viewer)
    dock.case.latest.click()
    settled(dock)
    assert dock.learn.hint.text().startswith("Last round, ") and "Not adopted" in dock.learn.hint.text()
    assert not seen(dock, dock.learn.gate.table)
    dock.learn.figures.click()
    assert seen(dock, dock.learn.gate.table) and len(table(dock)) == 4
    dock.learn.overrule.click()
    settled(dock)
    assert asked == [True] and dock.desk.session.current_model == dock.desk.session.rounds()[0].candidate


def test_cancelled_it_goes_on_later(corrected: BreastSegWidget, loop: FakeLoop, settled: Any, qtbot: Any) -> None:
    loop.endless = True
    corrected.learn.learn.click()
    qtbot.waitUntil(lambda: bool(corrected.learn.curve.losses), timeout=60_000)
    corrected.learn.bar.cancel.click()
    settled(corrected)
    assert loop.closed[-1] == "learn"
    assert "What was computed is kept" in corrected.learn.hint.text()
    assert not seen(corrected, corrected.learn.curve)
    assert corrected.learn.learn.isEnabled()


def test_steps_that_come_faster_than_bars_are_drawn(corrected: BreastSegWidget, loop: FakeLoop, settled: Any) -> None:
    drawn: list[Progress] = []
    corrected.desk.jobs.drawn.connect(lambda _, step: drawn.append(step))
    loop.losses = tuple(1 / (1 + step) for step in range(3000))
    began = time.monotonic()
    learn(corrected, settled)
    assert len(drawn) <= 10 * (time.monotonic() - began) + 1
    assert len(corrected.learn.curve.losses) == 3000


def test_a_scheduler_is_chosen_by_its_address_which_is_remembered(
    corrected: BreastSegWidget, loop: FakeLoop, settled: Any, notices: list[str]
) -> None:
    where = corrected.learn.where
    where.choice.setCurrentText(SCHEDULER)
    learn(corrected, settled)
    assert len(notices) == 1 and "No Dask scheduler is named" in notices[0] and not corrected.desk.session.rounds()
    where.field.setText(" tcp://far:8786 ")
    where.field.editingFinished.emit()
    learn(corrected, settled)
    assert loop.scheduler == "tcp://far:8786" and corrected.desk.session.rounds()
    assert Where().field.text() == "tcp://far:8786"


def test_what_it_learned_is_a_layer_on_this_case_and_a_list_over_all(
    corrected: BreastSegWidget, settled: Any, tiny_case: Case, versions_see: list[str]
) -> None:
    dock, learned = corrected, corrected.learn.learned
    other = Case("other", tiny_case.images + 1, tiny_case.geometry, tiny_case.times)
    other_id = dock.desk.session.add_case(other)
    assert not seen(dock, learned)
    learn(dock, settled)
    mask = dock.desk.session.mask(dock.desk.case_id)
    learned.ask.click()
    settled(dock)
    expected = np.zeros(tiny_case.shape, np.uint8)
    expected[6, 5:9, 6:10], expected[4, 5:9, 6:10] = 1, 2
    layer = dock.desk.view.layer("learned")
    assert np.array_equal(layer.data, expected)
    assert (layer.name, layer.editable, layer.visible) == ("Learned", False, True)
    assert ["gained" in word for word in layer.features["learned"]] == [False, True, False]
    assert dock.desk.painter.layer.contour == 1
    assert "gained 0.05 mL" in learned.legend.text() and "lost 0.05 mL" in learned.legend.text()
    rows = [[learned.table.item(line, column).text() for column in range(4)] for line in range(2)]
    assert rows == [["tiny", "0.05 mL", "0.05 mL", "0.00 → 0.00"], ["other", "0.05 mL", "0.05 mL", "–"]]
    assert versions_see == ["tiny", "tiny", "other", "other"]
    assert np.array_equal(dock.desk.session.mask(dock.desk.case_id), mask)
    learned.table.cellClicked.emit(1, 0)
    settled(dock)
    assert dock.desk.case_id == other_id
    assert [one.name for one in dock.desk.viewer.layers if one.visible] == ["other", "Learned", "Tumour"]
    assert np.array_equal(dock.desk.view.layer("learned").data, expected)
    learned.hide_it.click()
    assert dock.desk.view.layer("learned") is None
    assert dock.desk.painter.layer.contour == 0
    assert not seen(dock, learned.table) and not seen(dock, learned.legend)


def test_nothing_of_it_is_left_behind(corrected: BreastSegWidget, settled: Any, tiny_case: Case, versions_see: list[str]) -> None:
    dock, first = corrected, corrected.desk.case_id
    other_id = dock.desk.session.add_case(Case("other", tiny_case.images + 1, tiny_case.geometry, tiny_case.times))
    learn(dock, settled)
    dock.learn.learned.ask.click()
    settled(dock)
    dock.desk.show_case(other_id)
    settled(dock)
    assert "Learned" not in [layer.name for layer in dock.desk.viewer.layers]
    assert not seen(dock, dock.learn.learned.legend)
    dock.desk.show_case(first)
    settled(dock)
    assert "Learned" not in [layer.name for layer in dock.desk.viewer.layers]
    assert dock.desk.painter.layer.contour == 0
    dock.learn.learned.table.cellClicked.emit(0, 0)
    settled(dock)
    viewer = dock.desk.viewer
    viewer.layers.remove(dock.desk.view.layer("learned"))
    assert dock.desk.painter.layer.contour == 0
    dock.learn.learned.table.cellClicked.emit(0, 0)
    assert dock.desk.painter.layer.contour == 1
    dock.shut()
    assert "Learned" not in [layer.name for layer in viewer.layers]


def test_the_list_is_of_the_last_round_alone(corrected: BreastSegWidget, settled: Any, versions_see: list[str]) -> None:
    learn(corrected, settled)
    corrected.learn.learned.ask.click()
    settled(corrected)
    assert seen(corrected, corrected.learn.learned.table)
    learn(corrected, settled)
    assert not seen(corrected, corrected.learn.learned.table)
    assert corrected.desk.view.layer("learned") is None


def test_which_case_next_opens_it(corrected: BreastSegWidget, settled: Any, tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    section = corrected.case.queue
    assert not section.isVisibleTo(corrected.case)
    use(corrected, replace(tiny_case, name="other", images=tiny_case.images + 1), settled)
    first, other = corrected.desk.session.cases

    def queue(session: Session, device: str) -> Job[list[Suggestion]]:
        yield Progress(0, 1, "Looking at tiny")
        return [Suggestion(first, 0.9, 0.2, None, 0.4, ("the model is unsure of it", "it is like none that is corrected"))]

    monkeypatch.setattr(queueing, "queue", queue)
    assert section.isVisibleTo(corrected.case) and not section.list.isVisibleTo(corrected.case)
    section.ask.click()
    settled(corrected)
    assert section.list.item(0).text() == f"1. {first}\nthe model is unsure of it; it is like none that is corrected"
    assert corrected.desk.case_id == other
    section.list.itemClicked.emit(section.list.item(0))
    settled(corrected)
    assert corrected.desk.case_id == first
    section.hide_it.click()
    assert not section.list.isVisibleTo(corrected.case)


def test_a_queue_of_an_older_model_is_taken_away(
    corrected: BreastSegWidget, settled: Any, tiny_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def queue(session: Session, device: str) -> Job[list[Suggestion]]:
        yield Progress(0, 1, "Looking")
        return []

    monkeypatch.setattr(queueing, "queue", queue)
    corrected.desk.session.add_case(replace(tiny_case, name="other", images=tiny_case.images + 1))
    section = corrected.case.queue
    corrected.desk.changed.emit()
    section.ask.click()
    settled(corrected)
    assert section.none.isVisibleTo(corrected.case)
    learn(corrected, settled)
    assert not section.none.isVisibleTo(corrected.case)


def test_figures_of_a_strange_session_are_left_out() -> None:
    assert list(measured({})) == []
    assert list(measured({"parent": 3, "candidate": {"corrected": "x", "held_out": True, "cases": [1]}, "base": None})) == []
    assert [row.name for row in measured(FIGURES)][-1] == "three"


def test_words_of_a_session_are_never_formatted_text() -> None:
    row = RoundRow(1, "2026-11-21T10:00:00+00:00", (), "a", "b", False, ("<b>x</b>", "y"), {}, {})
    assert "&lt;b&gt;x&lt;/b&gt;" in verdict(row, "a")


def test_the_time_left_is_that_of_the_part_at_hand() -> None:
    steps = [(0, 0, 60), (2, 1, 60), (4, 2, 60), (5, 2, 60), (40, 20, 60), (112, 56, 60), (113, 0, 7), (114, 1, 7)]
    times = iter([float(now) for now, _, _ in steps])
    left = TimeLeft(lambda: next(times))
    words = [left.words(Progress(step, total, "")) for _, step, total in steps]
    assert words == ["", "", "about 2 min left", "about 2 min left", "about 80 s left", "a few seconds left", "", ""]


def test_the_dock_begins_without_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import napari_breastseg.widgets.dock, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
