"""The queue to the journal: in order, durable before it is told, and nothing lost while the disk refuses."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from napari_breastseg.errors import SessionError, StaleEditError
from napari_breastseg.loop.recorder import Checkout, Listener, Mark, Recorder, Step
from napari_breastseg.loop.strokes import Stroke
from napari_breastseg.session import Edit, Session


class Heard(list[tuple[Any, ...]]):
    """What a recorder told, in order."""

    def listener(self) -> Listener:
        return Listener(
            saved=lambda item, seq: self.append(("saved", type(item).__name__, seq)),
            changed=lambda box, values: self.append(("changed", box, values)),
            nothing=lambda item: self.append(("nothing", item)),
            marked=lambda mark: self.append(("marked", mark)),
            failed=lambda error: self.append(("failed", type(error))),
        )

    @property
    def kinds(self) -> list[str]:
        return [entry[0] for entry in self]


def dab(z: int, value: int = 1) -> Stroke:
    return Stroke(((z, z + 1), (3, 5), (4, 7)), np.ones((1, 2, 3), bool), value, "brush")


def test_everything_is_saved_in_order_and_told_after_the_commit(session: Session, case_id: str) -> None:
    heard, durable = Heard(), []
    listener = heard.listener()

    def saved(item: Any, seq: int) -> None:
        durable.append(session.seq(case_id) >= seq)
        listener.saved(item, seq)

    recorder = Recorder(session, case_id, Listener(saved, listener.changed, listener.nothing, listener.marked, listener.failed))
    for item in (Step("undo"), dab(1), dab(2), Step("undo"), Mark("case-done", True), Step("redo"), Step("redo")):
        recorder.add(item)
    assert recorder.close() == 0
    assert heard.kinds == [*["nothing", "saved", "saved", "changed", "saved", "marked"], *["changed", "saved", "marked"], "nothing"]
    assert [mark.value for mark in session.marks(case_id)] == [True, False], "going back behind 'case done' opens it again"
    assert [entry[1:] for entry in heard if entry[0] == "saved"] == [("Stroke", 1), ("Stroke", 2), ("Step", 3), ("Step", 4)]
    assert durable == [True] * 4
    assert recorder.seq == session.seq(case_id) == 4
    assert recorder.idle


def test_a_checkout_keeps_its_place_among_the_strokes(session: Session, case_id: str) -> None:
    heard = Heard()
    recorder = Recorder(session, case_id, heard.listener())
    for item in (dab(1), dab(2), Checkout(1), dab(3), Checkout(4)):
        recorder.add(item)
    recorder.close()
    assert heard.kinds == ["saved", "saved", "changed", "saved", "saved", "nothing"]
    assert [(session.annotation(case_id)[z] == 1).any() for z in (1, 2, 3)] == [True, False, True]


def test_a_change_brings_the_values_within_its_box(session: Session, case_id: str) -> None:
    heard = Heard()
    recorder = Recorder(session, case_id, heard.listener())
    recorder.add(dab(1))
    recorder.add(Step("undo"))
    recorder.close()
    (_, box, values) = next(entry for entry in heard if entry[0] == "changed")
    assert box == dab(1).box
    assert values.shape == (1, 2, 3)
    assert (values == 255).all()


def test_strokes_wait_while_the_disk_refuses(session: Session, case_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise SessionError("The disk is full. Free some space.")

    heard, told = Heard(), threading.Event()
    listener = heard.listener()
    recorder = Recorder(session, case_id, Listener(listener.saved, failed=lambda error: (listener.failed(error), told.set())))
    with monkeypatch.context() as broken:
        broken.setattr(Session, "record", full)
        recorder.add(dab(1))
        assert told.wait(30)
        assert (recorder.unsaved, [stroke.box for stroke in recorder.pending()]) == (1, [dab(1).box])
    recorder.add(dab(2))
    assert recorder.close() == 0
    assert heard == [("failed", SessionError), ("saved", "Stroke", 1), ("saved", "Stroke", 2)]


def test_a_step_that_fails_is_not_kept(session: Session, case_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SessionError("The disk is full. Free some space.")

    heard = Heard()
    monkeypatch.setattr(Session, "undo", full)
    recorder = Recorder(session, case_id, heard.listener())
    recorder.add(dab(1))
    recorder.add(Step("undo"))
    recorder.add(dab(2))
    assert recorder.close() == 0
    assert heard.kinds == ["saved", "failed", "saved"]


def test_a_change_made_elsewhere_is_caught_up_with(session: Session, case_id: str) -> None:
    heard = Heard()
    recorder = Recorder(session, case_id, heard.listener())
    session.record(case_id, Edit(((0, 1), (0, 1), (0, 1)), np.ones((1, 1, 1), bool), 1, "script", 0))
    recorder.add(dab(1))
    assert recorder.close() == 0
    assert heard[0] == ("failed", StaleEditError)
    assert heard.kinds == ["failed", "changed", "saved"]
    assert session.annotation(case_id)[0, 0, 0] == session.annotation(case_id)[1, 3, 4] == 1
