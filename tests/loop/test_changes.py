"""What two versions of the model see differently, against masks drawn by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case, Geometry, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.loop import changes as module
from napari_breastseg.loop.changes import GAINED, LOST, ModelChange, all_changes, changes
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.progress import Job, Progress, run
from napari_breastseg.session import Session

OLD, NEW = (slice(2, 4), slice(2, 6), slice(2, 6)), (slice(3, 5), slice(2, 6), slice(2, 6))
"""Two boxes of 2 x 4 x 4 voxels that share the slice 3: 16 voxels gained in the slice 4, 16 lost in the slice 2."""


@pytest.fixture
def versions(session: Session, weights: Path, tmp_path: Path) -> tuple[str, str]:
    """Two models of the session; the first is the current one."""
    old = load_model(weights)
    new = save_model({key: value + torch.ones(()) for key, value in old.weights.items()}, dict(old.card) | {"parent": old.sha}, tmp_path)
    shas = session.add_model(weights, old.card), session.add_model(new, load_model(new).card)
    session.use_model(shas[0])
    return shas


@pytest.fixture
def asked(versions: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Which cases were predicted with which model; the older one marks OLD, the newer one NEW."""
    seen: list[tuple[str, str]] = []

    def predict(case: Case, model: Model, device: str) -> Job[Prediction]:
        seen.append((case.name, model.sha))
        yield Progress(1, 2, "refining")
        return drawn(case, model.sha, OLD if model.sha == versions[0] else NEW)

    monkeypatch.setattr(module, "predict", predict)
    return seen


def drawn(case: Case, sha: str, where: tuple[slice, ...]) -> Prediction:
    mask = np.zeros(case.shape, np.uint8)
    mask[where] = 1
    return Prediction(sha, mask.astype(np.float32), mask, mask)


def test_gained_and_lost_are_what_only_one_version_marks(
    session: Session, case_id: str, tiny_case: Case, versions: tuple[str, str], asked: list[tuple[str, str]]
) -> None:
    change = run(changes(session, case_id, *versions))
    expected = np.zeros(tiny_case.shape, np.uint8)
    expected[4, 2:6, 2:6], expected[2, 2:6, 2:6] = GAINED, LOST
    np.testing.assert_array_equal(change.on_grid(tiny_case.shape), expected)
    assert change.box == ((2, 5), (2, 6), (2, 6))
    assert (change.gained, change.lost) == ("0.05 mL", "0.05 mL")  # 16 voxels of 0.003 mL
    assert (change.dice_before, change.dice_after) == (None, None)
    assert asked == [("tiny", versions[0]), ("tiny", versions[1])]


def test_looking_changes_neither_the_mask_nor_the_history_and_is_done_once(
    session: Session, case_id: str, tiny_case: Case, versions: tuple[str, str], asked: list[tuple[str, str]]
) -> None:
    session.add_prediction(case_id, drawn(tiny_case, versions[0], OLD))
    before = session.now(case_id), session.timeline(case_id), session.predictions(case_id), session.mask(case_id).tobytes()
    first = run(changes(session, case_id, *versions))
    assert asked == [("tiny", versions[1])]
    assert (session.now(case_id), session.timeline(case_id), session.predictions(case_id), session.mask(case_id).tobytes()) == before
    assert session.current_model == versions[0] and session.verify() == []
    session.compact()
    again = run(changes(session, case_id, *versions))
    assert len(asked) == 1
    np.testing.assert_array_equal(again.drawn, first.drawn)


def test_dice_counts_annotated_voxels_alone(
    session: Session, case_id: str, versions: tuple[str, str], asked: list[tuple[str, str]], paint: Callable[..., int]
) -> None:
    paint(((3, 5), (2, 6), (2, 5)), 1)  # 24 voxels of NEW, 12 of them in OLD
    paint(((2, 3), (2, 6), (2, 4)), 0)  # 8 voxels of OLD
    change = run(changes(session, case_id, *versions))
    assert change.dice_before == pytest.approx(2 * 12 / (24 + 12 + 8))
    assert change.dice_after == 1.0


def test_versions_that_agree_differ_nowhere(session: Session, case_id: str, versions: tuple[str, str], asked: list[object]) -> None:
    change = run(changes(session, case_id, versions[0], versions[0]))
    assert (change.box, change.gained, change.lost) == (None, "0.00 mL", "0.00 mL")
    assert not change.on_grid((12, 16, 20)).any()


def test_all_cases_come_one_by_one_and_a_cancel_keeps_what_was_predicted(
    session: Session, case_id: str, versions: tuple[str, str], asked: list[tuple[str, str]]
) -> None:
    other = session.add_case(Case("other", np.ones((3, 12, 16, 20), np.float32), Geometry((1, 1, 1), np.eye(4), (20, 16, 12))))
    job = all_changes(session, *versions, case_ids=[other, case_id])
    came = next(step.payload for step in job if step.payload is not None)
    assert isinstance(came, ModelChange) and (came.case_id, came.name) == (other, "other")
    job.close()
    assert [name for name, _ in asked] == ["other", "other"]
    steps: list[Progress] = []
    found = run(all_changes(session, *versions), steps.append)
    assert [one.case_id for one in found] == [case_id, other]
    assert [name for name, _ in asked] == ["other", "other", "tiny", "tiny"]
    assert [step.payload.case_id for step in steps if step.payload is not None] == [case_id, other]
    assert [step.message for step in steps][-2:] == ["Case 1 of 2: compared", "Case 2 of 2: compared"]


def test_a_case_that_cannot_be_predicted_does_not_stand_in_the_way_of_the_others(
    session: Session, case_id: str, versions: tuple[str, str], asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = session.add_case(Case("flat", np.ones((3, 12, 16, 20), np.float32), Geometry((1, 1, 1), np.eye(4), (20, 16, 12))))
    predict = module.predict

    def refuse(case: Case, model: Model, device: str) -> Job[Prediction]:
        if case.name == "flat":
            raise InputError("flat is constant. Choose another image.")
        return (yield from predict(case, model, device=device))

    monkeypatch.setattr(module, "predict", refuse)
    found = run(all_changes(session, *versions, case_ids=[flat, case_id]))
    assert [(one.case_id, one.problem) for one in found] == [(flat, "flat is constant. Choose another image."), (case_id, "")]
    assert not found[0].on_grid((12, 16, 20)).any()


def test_an_unknown_version_is_said_in_a_sentence(session: Session, case_id: str, versions: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="Choose one"):
        run(changes(session, case_id, versions[0], "f" * 64))
