"""The session's API behaves as its docstrings say."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import Prediction
from napari_breastseg.errors import BreastSegError, InputError, ModelError, SessionError, StaleEditError
from napari_breastseg.evaluation.session_trials.material import random_edit
from napari_breastseg.session import Edit, Session, split

from .helpers import SHAPE, make_case, make_prediction

BOX = ((1, 3), (2, 5), (0, 4))
MASK = np.ones((2, 3, 4), dtype=bool)


def test_a_case_comes_back_as_it_went_in(session: Session) -> None:
    case = make_case()
    case_id = session.add_case(case)
    back = session.case(case_id)
    np.testing.assert_array_equal(np.asarray(back.images), case.images)
    np.testing.assert_array_equal(back.phase(1)[2:4], case.images[1, 2:4])
    np.testing.assert_array_equal(back.geometry.affine, case.geometry.affine)
    assert (back.name, back.times, back.modality, dict(back.metadata)) == (case.name, case.times, case.modality, dict(case.metadata))
    assert (back.geometry.spacing, back.geometry.original_shape) == (case.geometry.spacing, case.geometry.original_shape)


def test_case_ids_are_slugs_and_adding_twice_changes_nothing(session: Session) -> None:
    first = session.add_case(make_case(0))
    assert first.startswith("kase-0-x-")
    assert session.add_case(make_case(0)) == first
    second = session.add_case(make_case(1))
    assert session.cases == [first, second]
    assert sorted(path.name for path in (session.path / "cases").iterdir()) == sorted(f"{name}.ome.zarr" for name in (first, second))


@pytest.mark.parametrize("bad", ["../../etc", "nothing", "", "a/b", "'; DROP TABLE edit; --"])
def test_unknown_cases_are_refused(session: Session, case_id: str, bad: str) -> None:
    for call in (session.case, session.seq, session.annotation, session.undo, session.edits, session.marks, session.mask, session.snapshot):
        with pytest.raises(InputError, match="no case"):
            call(bad)


def test_an_edit_changes_only_its_voxels_and_comes_back_after_reopening(session: Session, case_id: str, folder: Path) -> None:
    mask = MASK.copy()
    mask[0, 0, 0] = False
    assert session.seq(case_id) == 0
    assert session.record(case_id, Edit(BOX, mask, 1, "brush", 0)) == 1
    expected = np.full(SHAPE, 255, dtype=np.uint8)
    expected[1:3, 2:5, 0:4][mask] = 1
    np.testing.assert_array_equal(session.annotation(case_id), expected)
    session.close()
    with Session.open(folder) as again:
        np.testing.assert_array_equal(again.annotation(case_id), expected)
        (row,) = again.edits(case_id)
        assert (row.seq, row.tool, row.box, row.voxels, row.undoes) == (1, "brush", BOX, 23, None)


def test_values_may_differ_from_voxel_to_voxel(session: Session, case_id: str) -> None:
    values = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), MASK.shape)
    session.record(case_id, Edit(BOX, MASK, values, "fill", 0))
    np.testing.assert_array_equal(session.annotation(case_id)[1:3, 2:5, 0:4], values)


def test_what_annotation_returns_is_a_copy(session: Session, case_id: str) -> None:
    session.annotation(case_id)[:] = 1
    assert (session.annotation(case_id) == 255).all()


def test_an_edit_on_an_older_state_is_refused(session: Session, case_id: str) -> None:
    session.record(case_id, Edit(BOX, MASK, 1, "brush", 0))
    before = session.annotation(case_id)
    for base in (0, 2, -1):
        with pytest.raises(StaleEditError):
            session.record(case_id, Edit(BOX, MASK, 0, "brush", base))
    np.testing.assert_array_equal(session.annotation(case_id), before)
    assert session.seq(case_id) == 1


@pytest.mark.parametrize(
    ("box", "mask", "value"),
    [
        (((0, 7), (0, 1), (0, 1)), np.ones((7, 1, 1), bool), 1),
        (((-1, 1), (0, 1), (0, 1)), np.ones((2, 1, 1), bool), 1),
        (((1, 1), (0, 1), (0, 1)), np.ones((0, 1, 1), bool), 1),
        (BOX, np.ones((2, 3, 5), bool), 1),
        (BOX, np.zeros((2, 3, 4), bool), 1),
        (BOX, MASK, 2),
        (BOX, MASK, np.full((2, 3, 4), 7, np.uint8)),
        (BOX, MASK, np.ones((1, 3, 4), np.uint8)),
    ],
)
def test_edits_that_do_not_fit_are_refused(session: Session, case_id: str, box: object, mask: np.ndarray, value: object) -> None:
    with pytest.raises(InputError):
        session.record(case_id, Edit(box, mask, value, "brush", 0))  # type: ignore[arg-type]
    assert session.seq(case_id) == 0


def test_versions_outside_the_history_are_refused(session: Session, case_id: str) -> None:
    for at in (-1, 1):
        with pytest.raises(InputError, match="versions 0 to 0"):
            session.annotation(case_id, at)


def test_marks_keep_their_order_values_and_seq(session: Session, case_id: str) -> None:
    session.mark(case_id, "slice-reviewed", {"axis": 0, "index": 3})
    session.record(case_id, Edit(BOX, MASK, 1, "brush", 0))
    session.mark(case_id, "case-done", True)
    assert [(m.id, m.what, m.value, m.seq) for m in session.marks(case_id)] == [
        (1, "slice-reviewed", {"axis": 0, "index": 3}, 0),
        (2, "case-done", True, 1),
    ]
    with pytest.raises(InputError):
        session.mark(case_id, "done", True)  # type: ignore[arg-type]


def test_predictions_come_back_whole(session: Session, case_id: str) -> None:
    assert session.prediction(case_id) is None
    first, second = make_prediction(0), make_prediction(1)
    assert [session.add_prediction(case_id, p) for p in (first, second)] == [1, 2]
    for back, put in ((session.prediction(case_id, 1), first), (session.prediction(case_id), second)):
        assert back is not None
        for name in ("probability", "coarse", "refined"):
            np.testing.assert_array_equal(getattr(back, name), getattr(put, name))
        assert back.maps.keys() == put.maps.keys()
        for name, values in put.maps.items():
            np.testing.assert_array_equal(back.maps[name], values)
        assert (back.model, back.details) == (put.model, {"device": "cpu", "seconds": 1.5})
    assert [(row.id, row.model) for row in session.predictions(case_id)] == [(1, "a" * 64), (2, "a" * 64)]
    with pytest.raises(InputError):
        session.prediction(case_id, 3)
    assert not list(session.path.parent.rglob("*attention*"))


def test_a_prediction_on_another_grid_is_refused(session: Session, case_id: str) -> None:
    small = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(InputError, match="own grid"):
        session.add_prediction(case_id, Prediction("a" * 64, small.astype(np.float32), small, small))
    assert session.predictions(case_id) == []


def test_the_mask_is_the_latest_prediction_under_the_annotation(session: Session, case_id: str) -> None:
    assert not session.mask(case_id).any()
    prediction = make_prediction(3)
    session.add_prediction(case_id, make_prediction(2))
    session.add_prediction(case_id, prediction)
    session.record(case_id, Edit(BOX, MASK, 1, "brush", 0))
    expected = prediction.refined.copy()
    expected[1:3, 2:5, 0:4] = 1
    np.testing.assert_array_equal(session.mask(case_id), expected)


def test_models_are_named_by_their_bytes(session: Session, weights: Callable[[int], Path], folder: Path) -> None:
    first = session.add_model(weights(0), {"preset": "p", "parent": None})
    second = session.add_model(weights(1), {"preset": "p", "parent": first, "metrics": {"dice": np.float64(0.5)}})
    assert session.add_model(weights(0), {"preset": "p", "parent": None}) == first
    assert session.current_model is None
    session.use_model(second)
    session.close()
    with Session.open(folder) as again:
        assert again.current_model == second
        assert [(m.sha, m.parent, m.adopted) for m in again.models()] == [(first, None, False), (second, first, True)]
        path = again.model_path(second)
        assert path.read_bytes() == weights(1).read_bytes()
        assert json.loads(path.with_suffix(".json").read_text())["metrics"] == {"dice": 0.5}
        with pytest.raises(InputError):
            again.use_model("f" * 64)
        with pytest.raises(InputError):
            again.model_path("../../x")


def test_pickles_and_missing_files_are_no_models(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps({"layer": [1.0]}))
    with pytest.raises(ModelError, match="no safetensors"):
        session.add_model(path, {})
    with pytest.raises(ModelError, match="does not exist"):
        session.add_model(tmp_path / "none.safetensors", {})
    assert session.models() == []
    assert list((session.path / "models").iterdir()) == []


def test_a_round_adopts_in_the_same_breath(session: Session, case_id: str, weights: Callable[[int], Path]) -> None:
    base, better, worse = (session.add_model(weights(n), {}) for n in range(3))
    session.use_model(base)
    assert session.add_round([case_id], base, better, True, ["no worse"], {"dice": np.float32(0.5)}, {case_id: 3}) == 1
    assert session.current_model == better
    session.add_round([case_id], better, worse, False, ["worse on replay"], {}, {case_id: 4})
    assert session.current_model == better
    with pytest.raises(InputError):
        session.add_round([case_id], better, "f" * 64, True, [], {}, {})
    first, second = session.rounds()
    assert (first.adopted, first.reasons, first.figures, first.seqs, first.case_ids) == (
        True,
        ("no worse",),
        {"dice": 0.5},
        {case_id: 3},
        (case_id,),
    )
    assert (second.adopted, second.candidate) == (False, worse)


def test_create_and_open_say_what_to_do_instead(tmp_path: Path, session: Session, folder: Path) -> None:
    with pytest.raises(SessionError, match="already holds a session"):
        Session.create(folder)
    with pytest.raises(SessionError, match="Create one"):
        Session.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(SessionError, match="not empty"):
        Session.create(full)
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]
    with pytest.raises(SessionError):
        Session.create(full / "thesis.txt")


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, b"SQLite format 3\x00" + bytes(5000)])
def test_a_foreign_or_broken_database_is_told_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "session.sqlite").write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(SessionError):
            Session.open(tmp_path, read_only=read_only)
    assert (tmp_path / "session.sqlite").read_bytes() == content


def test_nothing_works_after_close(session: Session, case_id: str) -> None:
    session.close()
    session.close()
    for call in (lambda: session.cases, lambda: session.seq(case_id), lambda: session.current_model, session.verify, session.models):
        with pytest.raises(SessionError, match="closed"):
            call()


def test_reading_only_reads_and_follows_the_writer(session: Session, case_id: str, folder: Path, weights: Callable[[int], Path]) -> None:
    rng = np.random.default_rng(0)
    with Session.open(folder, read_only=True) as reader:
        for base in range(3):
            session.record(case_id, random_edit(rng, base))
            np.testing.assert_array_equal(reader.annotation(case_id), session.annotation(case_id))
        for write in (
            lambda: reader.record(case_id, random_edit(rng, 3)),
            lambda: reader.undo(case_id),
            lambda: reader.mark(case_id, "case-done", True),
            lambda: reader.add_prediction(case_id, make_prediction()),
            lambda: reader.add_model(weights(0), {}),
            lambda: reader.use_model("f" * 64),
            lambda: reader.add_case(make_case(5)),
            lambda: reader.snapshot(case_id),
        ):
            with pytest.raises(SessionError, match="reading only"):
                write()


def test_the_split_is_fixed_for_ever() -> None:
    sides = [split("case-0123456789", str(n)) for n in range(1000)]
    assert sides == [split("case-0123456789", str(n)) for n in range(1000)]
    assert 150 < sides.count("held-out") < 250
    first_release = [
        "train",
        "train",
        "held-out",
        "held-out",
        "train",
        "held-out",
        "train",
        "train",
        "held-out",
        "train",
        "train",
        "held-out",
    ]
    assert [split("a", str(n)) for n in range(12)] == first_release


def test_details_that_json_cannot_hold_are_refused(session: Session, case_id: str) -> None:
    with pytest.raises(BreastSegError):
        session.mark(case_id, "case-done", object())
    assert session.marks(case_id) == []
