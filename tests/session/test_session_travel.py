"""Time travel: what happened, what differs between versions and why, and the way back to any of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import Prediction, overlay
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.session_trials.material import SHAPE
from napari_breastseg.evaluation.session_trials.material import random_edit as make_edit
from napari_breastseg.session import Edit, Session, Version

from .helpers import make_case, make_prediction


def paint(session: Session, case_id: str, box: tuple[tuple[int, int], ...], value: int, tool: str = "brush") -> int:
    extent = tuple(stop - start for start, stop in box)
    return session.record(case_id, Edit(box, np.ones(extent, bool), value, tool, session.seq(case_id)))  # type: ignore[arg-type]


def empty_prediction(box: tuple[slice, ...], model: str) -> Prediction:
    mask = np.zeros(SHAPE, np.uint8)
    mask[box] = 1
    return Prediction(model, mask.astype(np.float32), mask, mask)


def test_a_checkout_is_an_edit_that_undo_takes_back(session: Session, case_id: str) -> None:
    rng = np.random.default_rng(0)
    for base in range(8):
        session.record(case_id, make_edit(rng, base))
    versions = [session.annotation(case_id, at) for at in range(9)]
    change = session.checkout(case_id, 3)
    assert change is not None and (change.seq, change.undoes) == (9, None)
    np.testing.assert_array_equal(session.annotation(case_id), versions[3])
    assert session.edits(case_id)[-1].tool == "back to 3"
    assert session.checkout(case_id, 3) is None and session.seq(case_id) == 9
    undone = session.undo(case_id)
    assert undone is not None and undone.undoes == 9
    np.testing.assert_array_equal(session.annotation(case_id), versions[8])
    for at in range(9):
        np.testing.assert_array_equal(session.annotation(case_id, at), versions[at])
    with pytest.raises(InputError, match="0 to 10"):
        session.checkout(case_id, 11)


def test_the_mask_of_any_version(session: Session, case_id: str) -> None:
    first, second = make_prediction(0), make_prediction(1)
    seen = {Version(0, None): np.zeros(SHAPE, np.uint8)}
    rng = np.random.default_rng(1)
    for number, prediction in enumerate((first, second), 1):
        session.add_prediction(case_id, prediction)
        for _ in range(4):
            seq = session.record(case_id, make_edit(rng, session.seq(case_id)))
            assert session.now(case_id) == Version(seq, number)
            seen[Version(seq, number)] = overlay(prediction.refined, session.annotation(case_id))
            np.testing.assert_array_equal(session.mask(case_id), seen[Version(seq, number)])
    for version, mask in seen.items():
        np.testing.assert_array_equal(session.mask(case_id, version), mask)
    mixed = session.mask(case_id, Version(2, 2))
    np.testing.assert_array_equal(mixed, overlay(second.refined, session.annotation(case_id, 2)))


def test_a_comparison_says_which_voxels_when_and_by_what(session: Session, case_id: str) -> None:
    session.add_prediction(case_id, empty_prediction((slice(0, 2), slice(0, 2), slice(0, 2)), "a" * 64))
    before = session.now(case_id)
    paint(session, case_id, ((2, 3), (4, 8), (4, 8)), 1)  # 16 added, 4 of them erased below, 2 painted over
    paint(session, case_id, ((2, 3), (4, 5), (4, 8)), 0, "eraser")  # taken back: no difference
    paint(session, case_id, ((0, 1), (0, 2), (0, 2)), 0, "eraser")  # 4 of the prediction removed
    paint(session, case_id, ((2, 3), (5, 6), (4, 6)), 1, "polygon")  # already tumour, now by the polygon
    session.add_prediction(case_id, empty_prediction((slice(0, 2), slice(0, 2), slice(0, 3)), "b" * 64))  # 4 added
    found = session.compare(case_id, before, session.now(case_id))
    assert [(share.kind, share.number, share.by, share.added, share.removed) for share in found.shares] == [
        ("prediction", 2, "b" * 64, 4, 0),
        ("edit", 1, "brush", 10, 0),
        ("edit", 3, "eraser", 0, 4),
        ("edit", 4, "polygon", 2, 0),
    ]
    assert found.box == ((0, 3), (0, 8), (0, 8))
    place = tuple(slice(*pair) for pair in found.box)
    np.testing.assert_array_equal(found.before, session.mask(case_id, before)[place])
    np.testing.assert_array_equal(found.after, session.mask(case_id)[place])
    back = session.compare(case_id, session.now(case_id), before)
    assert [(share.kind, share.number, share.added, share.removed) for share in back.shares] == [("prediction", 1, 4, 16)]
    assert session.compare(case_id, before, before).box is None


def test_shares_count_every_differing_voxel_once(session: Session, case_id: str) -> None:
    rng = np.random.default_rng(2)
    versions = []
    for number in range(90):
        if number % 20 == 0:
            session.add_prediction(case_id, make_prediction(number))
        match rng.integers(4):
            case 0:
                session.undo(case_id)
            case 1:
                session.checkout(case_id, int(rng.integers(session.seq(case_id) + 1)))
            case _:
                session.record(case_id, make_edit(rng, session.seq(case_id)))
        versions.append(session.now(case_id))
    for _ in range(12):
        first, second = (versions[int(n)] for n in rng.integers(len(versions), size=2))
        before, after = session.mask(case_id, first), session.mask(case_id, second)
        shares = session.compare(case_id, first, second).shares
        assert sum(share.added for share in shares) == np.count_nonzero(after > before)
        assert sum(share.removed for share in shares) == np.count_nonzero(after < before)
        assert all(share.number <= second.seq for share in shares if share.kind == "edit")


def test_the_timeline_groups_strokes_and_names_everything_else(
    session: Session, case_id: str, weights: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha, other = (session.add_model(weights(n), {"preset": "p"}) for n in range(2))
    session.use_model(sha)
    session.add_prediction(case_id, empty_prediction((slice(0, 2),), sha))
    paint(session, case_id, ((2, 3), (4, 8), (4, 8)), 1)
    paint(session, case_id, ((3, 4), (2, 5), (4, 9)), 1)
    session.undo(case_id)
    session.mark(case_id, "case-done", True)
    session.add_round([case_id], sha, other, True, ["better"], {}, {case_id: 3})
    paint(session, case_id, ((4, 5), (2, 5), (4, 9)), 0, "eraser")
    moments = session.timeline(case_id)
    assert [(moment.kind, moment.what) for moment in moments] == [
        ("prediction", f"Prediction by {sha[:8]}"),
        ("edits", "2 x brush, undo"),
        ("mark", "Case done"),
        ("round", f"Learned model {other[:8]}, adopted"),
        ("edits", "eraser"),
    ]
    run = moments[1]
    assert (run.before, run.version, run.box, run.voxels) == (Version(0, 1), Version(3, 1), ((2, 4), (2, 8), (4, 9)), 46)
    assert moments[-1].version == session.now(case_id)
    assert [moment.before for moment in moments[1:]] == [moment.version for moment in moments[:-1]]
    another = session.add_case(make_case(1))
    assert [moment.kind for moment in session.timeline(another)] == ["current-model"]


def test_the_timeline_survives_a_clock_that_was_set_back(session: Session, case_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in (14, 13, 15):
        monkeypatch.setattr("napari_breastseg.session.annotations.now", lambda hour=hour: f"2026-01-01T{hour}:00:00.000+00:00")
        paint(session, case_id, ((2, 3), (4, 8), (4, 8)), hour % 2)
    assert [(moment.before.seq, moment.version.seq) for moment in session.timeline(case_id)] == [(0, 2), (2, 3)]


def test_a_view_is_kept_for_each_case(folder: Path) -> None:
    with Session.create(folder) as session:
        first, second = (session.add_case(make_case(n)) for n in range(2))
        assert (session.last_case, session.view(first)) == (None, {})
        session.keep_view(first, {"point": [0, 3.5]})
        session.keep_view(second, {"point": [1, 2]})
        session.keep_view(first, {"point": [1, 4.5]})
        with pytest.raises(InputError, match="too large"):
            session.keep_view(first, {"x": "y" * 100_000})
    with Session.open(folder, read_only=True) as session:
        assert (session.last_case, session.view(first), session.view(second)) == (first, {"point": [1, 4.5]}, {"point": [1, 2]})


def test_unfinished_learning_is_told(folder: Path) -> None:
    with Session.create(folder) as session:
        case_id = session.add_case(make_case())
        with pytest.raises(ZeroDivisionError), session.learning({case_id: 3}):
            raise ZeroDivisionError
        with session.learning({case_id: 3}):
            session.add_round([case_id], None, None, False, ["worse"], {}, {case_id: 3})
    with Session.open(folder) as session:
        assert session.recovered == ()
        session._open.models.set_learning({"seqs": {case_id: 3}})  # as a kill leaves it
    with Session.open(folder) as session:
        assert "Learning was interrupted" in session.recovered[0]
    with Session.open(folder) as session:
        assert session.recovered == ()


def test_a_clock_that_is_behind_does_not_disorder_the_timeline(session: Session, case_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits on one computer, a mark and a prediction on another, whose clock is an hour behind."""
    paint(session, case_id, ((2, 3), (4, 8), (4, 8)), 1)
    for place in ("marks", "predictions"):
        monkeypatch.setattr(f"napari_breastseg.session.{place}.now", lambda: "2026-01-01T00:00:00.000+00:00")
    session.mark(case_id, "case-done", True)
    session.add_prediction(case_id, make_prediction())
    paint(session, case_id, ((3, 4), (4, 8), (4, 8)), 1)
    moments = session.timeline(case_id)
    assert [moment.kind for moment in moments] == ["edits", "prediction", "mark", "edits"]
    assert [moment.version.seq for moment in moments] == [1, 1, 1, 2]


def test_what_follows_the_commit_never_makes_a_stroke_look_refused(session: Session, case_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bool:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(session._open.annotations.snapshots, "due", fails)
    assert paint(session, case_id, ((2, 3), (4, 8), (4, 8)), 1) == 1
    assert paint(session, case_id, ((2, 3), (4, 8), (4, 8)), 0) == 2
    assert session.undo(case_id) is not None and session.seq(case_id) == 3
