from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg.case import REFINED_WITH, Case, Prediction, overlay, slices
from napari_breastseg.errors import ComputeError, InputError, ModelError, SessionError
from napari_breastseg.inference.refine import fingerprint
from napari_breastseg.loop import AnnotationLoop, annotation_loop
from napari_breastseg.loop.annotation_loop import restarts, unlike
from napari_breastseg.methods.model import Model, load_model, save_model
from napari_breastseg.progress import Job, Progress, run
from napari_breastseg.session import Edit, Session
from napari_breastseg.session.disk.places import WORK
from napari_breastseg.session.rows import RoundRow, Version

Paint = Callable[..., int]
Learner = Callable[[str], None]


def fake_predict(case: Case, model: Model, device: str, region: str, mirror: bool) -> Job[Prediction]:
    yield Progress(0, 2, "predicting")
    probability = np.zeros(case.shape, np.float32)
    probability[2:4, 2:6, 2:6] = 0.9
    mask = (probability > 0.5).astype(np.uint8)
    yield Progress(1, 2, "predicting")
    return Prediction(model.sha, probability, mask, mask, details={"device": device})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotation_loop, "predict", fake_predict)


@pytest.fixture
def loop(session: Session, weights: Path) -> AnnotationLoop:
    return AnnotationLoop(session, weights)


@pytest.fixture
def corrected(paint: Paint) -> None:
    paint(((2, 3), (2, 9), (2, 9)))
    paint(((5, 6), (2, 9), (2, 9)), value=0)


def state(session: Session) -> object:
    return session.current_model, session.models(), session.rounds(), sorted(p.name for p in session.path.iterdir() if p.is_dir())


def test_the_session_begins_with_the_given_model(session: Session, loop: AnnotationLoop, weights: Path) -> None:
    assert session.current_model == weights.stem
    assert AnnotationLoop(session, "no such model").session.current_model == weights.stem


def test_each_method_goes_on_with_its_own_latest_version(session: Session, loop: AnnotationLoop, weights: Path) -> None:
    starter = load_model("hcnet").sha
    loop.use_method("hcma-unet")
    assert session.current_model == weights.stem
    loop.use_method("hcnet")
    assert session.current_model == starter
    loop.use_method("hcma-unet")
    assert session.current_model == weights.stem
    with pytest.raises(ModelError):
        loop.use_method("no such method")
    assert session.current_model == weights.stem and len(session.models()) == 2


def test_an_unknown_model_leaves_the_session_empty(session: Session) -> None:
    with pytest.raises(ModelError):
        AnnotationLoop(session, "no such model")
    assert session.models() == [] and session.current_model is None


def test_a_prediction_is_stored_with_the_model_that_made_it(session: Session, case_id: str, loop: AnnotationLoop) -> None:
    prediction = run(loop.predict(case_id))
    stored = session.prediction(case_id)
    assert stored is not None and stored.model == session.current_model
    np.testing.assert_array_equal(stored.refined, prediction.refined)


def test_a_cancelled_prediction_is_not_stored(session: Session, case_id: str, loop: AnnotationLoop) -> None:
    job = loop.predict(case_id)
    next(job)
    job.close()
    assert session.predictions(case_id) == []


@pytest.mark.usefixtures("corrected")
def test_an_adopted_candidate_becomes_current(session: Session, case_id: str, loop: AnnotationLoop, learner: Learner) -> None:
    learner("adopt")
    parent = session.current_model
    seen: list[Progress] = []
    outcome = run(loop.learn(), seen.append)
    assert outcome.adopted and outcome.reasons == ("a reason",)
    assert session.current_model == outcome.model != parent
    (row,) = session.rounds()
    assert (row.id, row.parent, row.candidate, row.adopted, row.seqs) == (outcome.number, parent, outcome.model, True, {case_id: 2})
    assert next(m for m in session.models() if m.sha == outcome.model).parent == parent
    assert "learning" in {p.message for p in seen}
    assert outcome.figures["seen"]["tiny"] == {"images": [3, 12, 16, 20], "learn": [49, 49], "held_out": [0, 0], "rounds_ago": 0}
    assert not (session.path / WORK).exists()


@pytest.mark.usefixtures("corrected")
def test_a_refused_candidate_is_kept_but_not_used(session: Session, case_id: str, loop: AnnotationLoop, learner: Learner) -> None:
    learner("refuse")
    parent = session.current_model
    outcome = run(loop.learn())
    assert not outcome.adopted and session.current_model == parent
    assert outcome.model in {m.sha for m in session.models()}
    session.use_model(outcome.model)
    assert session.current_model == outcome.model


@pytest.mark.usefixtures("corrected")
def test_a_case_whose_images_are_gone_is_left_out_and_that_is_said(
    session: Session, case_id: str, loop: AnnotationLoop, learner: Learner, tiny_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = session.add_case(replace(tiny_case, name="gone", images=tiny_case.images + 1))
    session.record(gone, Edit(((2, 3), (2, 9), (2, 9)), np.ones((1, 7, 7), bool), 1, "brush", 0))
    write, missing = annotation_loop._write_images, {"gone"}

    def vanished(case: Case, path: Path) -> None:
        if case.name in missing:
            raise SessionError("Its images are no longer where they were. Put them back.")
        write(case, path)

    monkeypatch.setattr(annotation_loop, "_write_images", vanished)
    learner("adopt")
    outcome = run(loop.learn())
    assert outcome.reasons == ("a reason", "gone was left out: Its images are no longer where they were. Put them back.")
    (row,) = session.rounds()
    assert row.seqs == {case_id: 2} and set(row.figures["split"]["trained_voxels"]) == {case_id}
    missing.add("tiny")
    with pytest.raises(InputError, match="no longer where they were"):
        run(loop.learn())
    missing.remove("gone")
    session.undo(gone)
    session.record(gone, Edit(((2, 3), (2, 4), (2, 4)), np.ones((1, 2, 2), bool), 1, "brush", 2))
    with pytest.raises(InputError, match="too little to learn from: 2 stroke"):
        run(loop.learn())


@pytest.mark.usefixtures("corrected")
def test_corrections_age(loop: AnnotationLoop, learner: Learner, paint: Paint) -> None:
    learner("adopt")
    ages = [run(loop.learn()).figures["seen"]["tiny"]["rounds_ago"] for _ in range(2)]
    learner("refuse")
    run(loop.learn())  # nothing came of this one
    learner("adopt")
    ages.append(run(loop.learn()).figures["seen"]["tiny"]["rounds_ago"])
    paint(((8, 9), (2, 9), (2, 9)))
    ages.append(run(loop.learn()).figures["seen"]["tiny"]["rounds_ago"])
    assert ages == [0, 1, 2, 0]


@pytest.mark.usefixtures("corrected")
def test_the_base_is_the_first_model_of_the_lineage(
    session: Session, loop: AnnotationLoop, learner: Learner, weights: Path, tmp_path: Path
) -> None:
    learner("adopt")
    for _ in range(2):
        run(loop.learn())
    assert session.current_model is not None
    assert loop._base(session.current_model) == weights.stem
    retrained = load_model(session.model_path(session.current_model))
    other = {key: value * 2 for key, value in retrained.weights.items()}
    card = {key: value for key, value in retrained.card.items() if key != "learning"} | {"parent": retrained.sha}
    own = loop.use(save_model(other, card, tmp_path / "retrained"))
    run(loop.learn())
    assert loop._base(str(session.current_model)) == own  # other training may have changed the encoder: a lineage of its own


@pytest.mark.usefixtures("corrected")
def test_a_killed_learner_leaves_the_session_as_it_was(session: Session, case_id: str, loop: AnnotationLoop, learner: Learner) -> None:
    learner("killed")
    before, annotation = state(session), session.annotation(case_id)
    with pytest.raises(ComputeError, match="lack of memory"):
        run(loop.learn())
    assert state(session) == before and session.verify() == []
    np.testing.assert_array_equal(session.annotation(case_id), annotation)


@pytest.mark.usefixtures("corrected")
def test_a_cancelled_learn_leaves_the_session_as_it_was(session: Session, loop: AnnotationLoop, learner: Learner) -> None:
    learner("endless")
    before = state(session)
    job = loop.learn()
    while next(job).message != "learning":
        pass
    job.close()
    assert state(session) == before


def test_too_little_to_learn_from(loop: AnnotationLoop, paint: Paint) -> None:
    with pytest.raises(InputError, match="too little to learn from: 0 stroke"):
        run(loop.learn())
    paint(((2, 3), (2, 4), (2, 4)))
    with pytest.raises(InputError, match="Paint missing tumour"):
        run(loop.learn())


def test_a_session_that_is_only_read_does_not_learn(session: Session, case_id: str, loop: AnnotationLoop, paint: Paint) -> None:
    paint(((2, 3), (2, 9), (2, 9)))
    paint(((5, 6), (2, 9), (2, 9)), value=0)
    with Session.open(session.path, read_only=True) as reader, pytest.raises(SessionError, match="reading only"):
        run(AnnotationLoop(reader).learn())


@pytest.mark.usefixtures("corrected")
def test_a_person_may_overrule_the_gate_and_that_is_recorded(session: Session, loop: AnnotationLoop, learner: Learner) -> None:
    learner("refuse")
    outcome = run(loop.learn())
    session.overrule(outcome.number, "it looks better to me")
    assert session.current_model == outcome.model and not session.rounds()[0].adopted
    event = next(row for row in session.events() if row.kind == "overruled")
    assert event.details == {"round": 1, "sha": outcome.model, "reasons": ["a reason"], "note": "it looks better to me"}
    with pytest.raises(InputError, match="no learning round 7"):
        session.overrule(7)
    for sha in (outcome.parent, outcome.model, outcome.model):
        session.use_model(sha)
    found = [row.details["note"] for row in session.events() if row.kind == "overruled"]
    assert found == ["it looks better to me", ""], "the same under Versions"
    learner("adopt")
    with pytest.raises(InputError, match="adopted already"):
        session.overrule(run(loop.learn()).number)


def test_every_fifth_adopted_round_starts_from_the_base_model() -> None:
    def row(adopted: bool, from_base: bool = False) -> RoundRow:
        return RoundRow(1, "", (), None, None, adopted, (), {"from_base": from_base}, {})

    assert [restarts([row(True)] * n, 5) for n in range(6)] == [False, False, False, False, True, True]
    assert not restarts([*[row(True)] * 4, row(False, from_base=True)], 5), "one that was refused is not tried again at once"
    assert not restarts([*[row(True)] * 3, row(False), row(False)], 5)
    assert restarts([], 1) and restarts([row(True, from_base=True)], 1)
    assert not restarts([row(True)] * 50, 0)


def test_names_that_are_alike_become_ids() -> None:
    assert unlike({"a-1": "a", "a-2": "a", "b-1": "b"}) == {"a-1": "a-1", "a-2": "a-2", "b-1": "b"}


@pytest.fixture
def refining(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Let refining mark what is painted; returns whose predictions and which annotations it was given."""
    asked: list[tuple[str, npt.NDArray[np.uint8]]] = []

    def refine(case: Case, before: Prediction, annotation: npt.NDArray[np.uint8]) -> Job[Prediction]:
        yield Progress(0, 1, "refining")
        assert REFINED_WITH not in before.details
        asked.append((before.model, annotation))
        mask = overlay(before.refined, annotation)
        return replace(before, refined=mask, details={**before.details, REFINED_WITH: {"sha256": fingerprint(annotation)}})

    monkeypatch.setattr(annotation_loop, "refine", refine)
    return asked


def test_a_prediction_is_refined_with_the_strokes_and_taken_back(
    session: Session, case_id: str, loop: AnnotationLoop, paint: Paint, refining: list[tuple[str, npt.NDArray[np.uint8]]]
) -> None:
    with pytest.raises(InputError, match="Predict it first"):
        run(loop.refine(case_id))
    own = run(loop.predict(case_id))
    other = load_model(loop.session.model_path(str(session.current_model)))
    for value in (1, 0):  # the second time it starts from the model's own prediction again
        paint(((8, 9), (2, 9), (2, 9)), value)
        refined = run(loop.refine(case_id))
        shown = session.prediction(case_id)
        assert shown is not None and REFINED_WITH in shown.details
        np.testing.assert_array_equal(shown.refined, refined.refined)
        assert refining[-1][0] == other.sha and (refining[-1][1][8, 2:9, 2:9] == value).all()
    refinement = session.predictions(case_id)[-1].id
    (share,) = session.compare(case_id, Version(0, None), Version(0, refinement)).shares
    assert (share.kind, share.number, share.by) == ("refinement", refinement, own.model)
    mine = session.annotation(case_id)
    mine[0] = 1
    assert (run(loop.refine(case_id, mine)).refined[0] == 1).all()
    for value in (0, 1):  # one refinement after the other is taken back
        loop.unrefine(case_id)
        found = session.prediction(case_id)
        assert found is not None and (found.refined[8, 2:9, 2:9] == value).all() and not found.refined[0].any()
    for found in (loop.own_prediction(case_id), loop.unrefine(case_id), session.prediction(case_id)):
        assert found is not None and REFINED_WITH not in found.details
        np.testing.assert_array_equal(found.refined, own.refined)
    shapes = [False, True, True, True, True, True, False]
    assert [row.refined for row in session.predictions(case_id)] == shapes
    loop.unrefine(case_id)  # there is nothing to take back
    assert len(session.predictions(case_id)) == 7
    np.testing.assert_array_equal(session.predicted_by(case_id, other.sha), own.refined)
    words = [moment.what for moment in session.timeline(case_id) if moment.kind == "prediction"]
    assert [text.endswith("refined with the strokes") for text in words] == shapes


def test_refining_again_is_quick_and_without_strokes_it_is_taken_back(
    session: Session, case_id: str, loop: AnnotationLoop, paint: Paint, refining: list[tuple[str, npt.NDArray[np.uint8]]]
) -> None:
    own = run(loop.predict(case_id))
    paint(((8, 9), (2, 9), (2, 9)))
    first = run(loop.refine(case_id))
    np.testing.assert_array_equal(run(loop.refine(case_id)).refined, first.refined)
    assert len(refining) == 1 and len(session.predictions(case_id)) == 2, "nothing was painted since"
    session.undo(case_id)
    np.testing.assert_array_equal(run(loop.refine(case_id)).refined, own.refined)
    assert not session.predictions(case_id)[-1].refined and len(refining) == 1
    session.redo(case_id)
    run(loop.refine(case_id))
    assert len(refining) == 2 and session.predictions(case_id)[-1].refined
    run(loop.predict(case_id))
    run(loop.refine(case_id))
    assert len(refining) == 3, "another prediction is refined anew"


def test_a_stored_case_is_really_refined(session: Session, case_id: str, loop: AnnotationLoop, paint: Paint) -> None:
    run(loop.predict(case_id))
    box = ((8, 9), (2, 9), (2, 9))
    paint(box)
    prediction = run(loop.refine(case_id))
    stored = session.prediction(case_id)
    assert stored is not None and (stored.refined[slices(box)] == 1).all()
    told = {"tumour_voxels": 49, "erased_voxels": 0, "sha256": fingerprint(session.annotation(case_id)), "instead_of": 1}
    assert stored.details[REFINED_WITH] == told
    np.testing.assert_array_equal(stored.refined, prediction.refined)


def test_what_the_model_alone_said_is_compared(
    session: Session, case_id: str, loop: AnnotationLoop, paint: Paint, refining: list[tuple[str, npt.NDArray[np.uint8]]]
) -> None:
    own = run(loop.predict(case_id))
    paint(((8, 9), (2, 9), (2, 9)))
    run(loop.refine(case_id))
    np.testing.assert_array_equal(session.predicted_by(case_id, str(session.current_model)), own.refined)


def test_a_cancelled_refinement_is_not_stored(session: Session, case_id: str, loop: AnnotationLoop, paint: Paint, refining: object) -> None:
    run(loop.predict(case_id))
    paint(((8, 9), (2, 9), (2, 9)))
    job = loop.refine(case_id)
    next(job)
    job.close()
    assert [row.refined for row in session.predictions(case_id)] == [False]
