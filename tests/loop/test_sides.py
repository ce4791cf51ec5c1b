from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import UNDECIDED, Box, Case, Geometry, Prediction, slices
from napari_breastseg.loop.approval import CASE_TOOL, approve, approved_case, reopen
from napari_breastseg.loop.sides import Corrected, Sides
from napari_breastseg.session import Edit, Session, Version

Paint = Callable[..., int]


def box(z: int, y: int = 2, width: int = 4) -> Box:
    return (z, z + 1), (y, y + width), (2, 2 + width)


def found_in(sides: Sides) -> Corrected | None:
    return next(iter(sides.all()), None)


@pytest.fixture
def held_out(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Seqs that the split holds out."""
    kept: set[str] = set()
    monkeypatch.setattr(Session, "split", lambda self, case_id, key: "held-out" if key in kept else "train")
    return kept


def test_nothing_corrected(session: Session, case_id: str) -> None:
    assert found_in(Sides(session)) is None


def test_a_held_out_stroke_never_trains(session: Session, case_id: str, paint: Paint, held_out: set[str]) -> None:
    for z in range(5):
        paint(box(z), value=z % 2)
    held_out.add("4")
    found = found_in(Sides(session))
    assert found is not None and found.seq == 5 and found.strokes == 4
    assert (found.held_out[3] != UNDECIDED).sum() == 16 and (found.learn[3] == UNDECIDED).all()
    assert (found.learn[:5] != UNDECIDED).sum() == 64 == found.voxels
    assert not ((found.learn != UNDECIDED) & (found.held_out != UNDECIDED)).any()


def test_the_first_strokes_always_train(session: Session, case_id: str, paint: Paint, held_out: set[str]) -> None:
    held_out.update({"1", "2", "3"})
    for z in range(3):
        paint(box(z))
    found = found_in(Sides(session))
    assert found is not None and found.strokes == 2
    assert (found.learn[2] == UNDECIDED).all() and (found.held_out[2] != UNDECIDED).any()


def test_painting_over_changes_the_value_but_not_the_side(session: Session, case_id: str, paint: Paint, held_out: set[str]) -> None:
    held_out.add("3")
    for z in range(3):
        paint(box(z))
    paint(box(2, width=8), value=0)
    found = found_in(Sides(session))
    assert found is not None
    assert (found.held_out[2] == 0).sum() == 16
    assert (found.learn[2] == 0).sum() == 64 - 16


def test_sides_do_not_depend_on_when_they_are_asked_for(session: Session, case_id: str, paint: Paint, held_out: set[str]) -> None:
    held_out.add("3")
    step_by_step = Sides(session)
    for z in (0, 1, 2, 2, 3):
        paint(box(z, y=z + 1), value=z % 2)
        found_in(step_by_step)
    session.undo(case_id)
    now, anew = found_in(step_by_step), found_in(Sides(session))
    assert now is not None and anew is not None
    np.testing.assert_array_equal(now.learn, anew.learn)
    np.testing.assert_array_equal(now.held_out, anew.held_out)


def test_what_was_undone_does_not_train(session: Session, case_id: str, paint: Paint) -> None:
    paint(box(0))
    session.undo(case_id)
    assert found_in(Sides(session)) is None


def test_what_was_approved_always_trains_and_outlives_the_next_prediction(
    session: Session, case_id: str, paint: Paint, held_out: set[str]
) -> None:
    shape = session.case(case_id).shape
    mask = np.zeros(shape, np.uint8)
    mask[4:6, 4:8, 4:8] = 1
    session.add_prediction(case_id, Prediction("0" * 64, mask.astype(np.float32), mask, mask))
    held_out.update({"3", "4"})
    for z in (4, 5, 9):
        paint(box(z), value=0)
    shown = session.mask(case_id)
    place, where = approved_case(shown, session.annotation(case_id), session.case(case_id).geometry)
    session.record(case_id, Edit(place, where, shown[slices(place)], CASE_TOOL, 3))
    found = found_in(Sides(session))
    assert found is not None
    assert (found.held_out[9, 2:6, 2:6] == 0).all()
    assert (found.learn[9, 2:6, 2:6] == UNDECIDED).all()
    assert (found.learn[shown == 1] == 1).all()
    other = 1 - mask
    session.add_prediction(case_id, Prediction("1" * 64, other.astype(np.float32), other, other))
    np.testing.assert_array_equal(session.mask(case_id)[slices(place)][where], shown[slices(place)][where])


def test_a_case_is_open_again_once_the_person_goes_back_behind_that_it_is_done(session: Session, case_id: str, paint: Paint) -> None:
    for z in range(3):
        paint(box(z))
    session.mark(case_id, "case-done", True)
    paint(box(3))
    assert session.is_done(case_id)
    session.undo(case_id)
    assert session.is_done(case_id), "a stroke that came later was taken back"
    session.undo(case_id)
    found = found_in(Sides(session))
    assert found is not None and not found.done and not session.is_done(case_id)
    session.redo(case_id)
    assert session.is_done(case_id), "all is as it was said to be right"
    session.checkout(case_id, 1)
    assert not session.is_done(case_id)
    assert reopen(session, case_id) and not session.marks(case_id)[-1].value
    assert not reopen(session, case_id)


def test_an_undo_that_was_undone_opens_nothing_and_one_that_was_done_again_does(session: Session, case_id: str, paint: Paint) -> None:
    for z in range(3):
        paint(box(z))
    session.mark(case_id, "case-done", True)
    session.checkout(case_id, 1)
    session.undo(case_id)
    assert session.is_done(case_id)
    session.redo(case_id)
    assert not session.is_done(case_id), "the annotation is the old one again"
    found = found_in(Sides(session))
    assert found is not None and not found.done and reopen(session, case_id)


def test_what_is_said_while_the_sides_are_read_does_not_count_yet(
    session: Session, case_id: str, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(box(0))
    sides, annotation = Sides(session), session.annotation
    paint(box(1))

    def slow(case_id: str, at: int | None = None) -> Any:
        monkeypatch.setattr(session, "annotation", annotation)
        found = annotation(case_id, at)
        approve(session, case_id)
        return found

    monkeypatch.setattr(session, "annotation", slow)
    found = found_in(sides)
    assert session.is_done(case_id) and session.seq(case_id) == 3
    assert found is not None and found.seq == 2 and not found.done
    found = found_in(sides)
    assert found is not None and found.seq == 3 and found.done


def test_no_prediction_adds_to_a_case_that_is_done(session: Session, case_id: str) -> None:
    shape = session.case(case_id).shape
    first, second = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    first[1, 2:4, 2:4] = 1
    second[shape[0] - 1, -2:, -2:] = 1
    for number, mask in enumerate((first, second)):
        session.add_prediction(case_id, Prediction(f"{number}" * 64, mask.astype(np.float32), mask, mask))
        if number == 0:
            before = session.now(case_id)
            box, where = approved_case(mask, session.annotation(case_id), replace(session.case(case_id).geometry, spacing=(99.0, 9.0, 9.0)))
            session.record(case_id, Edit(box, where, mask[slices(box)], CASE_TOOL, 0))
            session.mark(case_id, "case-done", True)
    assert session.annotation(case_id)[shape[0] - 1, -1, -1] == UNDECIDED
    np.testing.assert_array_equal(session.mask(case_id), first)
    np.testing.assert_array_equal(session.mask(case_id, before), first)
    session.add_prediction(case_id, Prediction("2" * 64, second.astype(np.float32), second, second))
    shares = session.compare(case_id, Version(0, 2), session.now(case_id)).shares
    assert [(share.kind, share.added, share.removed) for share in shares] == [("done", 0, 4), ("edit", 4, 0)]
    session.undo(case_id)
    np.testing.assert_array_equal(session.mask(case_id), second)


def test_a_case_without_tumour_that_is_done_teaches_and_judges(session: Session, case_id: str) -> None:
    approve(session, case_id)
    found = found_in(Sides(session))
    assert found is not None and found.done and set(np.unique(found.learn)) == {0, UNDECIDED}
    session.undo(case_id)
    assert not session.is_done(case_id) and found_in(Sides(session)) is None


def test_a_case_approves_what_lies_near_the_tumour_and_a_slice_without_one() -> None:
    geometry = Geometry((2.0, 1.0, 1.0), np.eye(4), (40, 40, 20))
    mask, annotation = np.zeros((20, 40, 40), np.uint8), np.full((20, 40, 40), UNDECIDED, np.uint8)
    place, where = approved_case(mask, annotation, geometry)
    assert place == ((5, 16), (0, 40), (0, 40)) and where.all()
    mask[10, 20, 20] = 1
    annotation[10, 20, 21] = 0
    place, where = approved_case(mask, annotation, geometry)
    whole = np.zeros(mask.shape, bool)
    whole[slices(place)] = where
    assert whole[10, 20, 20] and not whole[10, 20, 21]  # what was said before is not said again
    assert whole[10, 10, 20] and not whole[10, 9, 20]
    assert whole[5, 20, 20] and not whole[4, 20, 20]


def test_from_the_fifth_case_on_some_are_kept_back_whole(session: Session, tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [session.add_case(replace(tiny_case, name=f"case {i}", images=tiny_case.images + i)) for i in range(6)]
    monkeypatch.setattr(Session, "split", lambda self, case_id, key: "held-out" if key == "case" and case_id != ids[5] else "train")
    for case_id in reversed(ids[:4]):
        session.record(case_id, Edit(box(0), np.ones((1, 4, 4), bool), 1, "brush", 0))
    for case_id in ids[4:]:
        session.record(case_id, Edit(box(0), np.ones((1, 4, 4), bool), 1, CASE_TOOL, 0))
        session.mark(case_id, "case-done", True)
    found = Sides(session).all()
    assert [one.case_id for one in found] == [*reversed(ids[:4]), ids[4], ids[5]], "in the order in which they were begun"
    assert [one.kept_back for one in found] == [False] * 4 + [True, False]
    assert [one.done for one in found] == [False] * 4 + [True] * 2
    assert found[4].voxels == 0 and (found[4].held_out != UNDECIDED).sum() == 16
    session.undo(ids[3])
    assert [one.kept_back for one in Sides(session).all()] == [False] * 3 + [True, False], "nothing that comes later changes the sides"


def test_views_of_one_patient_stand_on_one_side(session: Session, tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["P1_L_CC", "P2_L_CC", "P3_L_CC", "P4_L_CC", "P1_L_MLO", "P5_R_MLO", "P5_R_CC", "P6_R_MLO", "P6_R_CC"]
    ids = [session.add_case(replace(tiny_case, name=name, images=tiny_case.images + i)) for i, name in enumerate(names)]
    kept = {case_id for case_id, name in zip(ids, names, strict=True) if name in ("P1_L_CC", "P5_R_MLO", "P6_R_CC")}
    monkeypatch.setattr(Session, "split", lambda self, case_id, key: "held-out" if key == "case" and case_id in kept else "train")
    for case_id in ids:
        session.record(case_id, Edit(box(0), np.ones((1, 4, 4), bool), 1, "brush", 0))
    sides = {names[ids.index(one.case_id)]: one.kept_back for one in Sides(session).all()}
    assert [name for name, back in sides.items() if back] == ["P5_R_MLO", "P5_R_CC"], "P1 was among the first that train"
    session.undo(ids[5])
    assert [one.kept_back for one in Sides(session).all() if one.case_id == ids[6]] == [True], "whichever of its views are corrected"
