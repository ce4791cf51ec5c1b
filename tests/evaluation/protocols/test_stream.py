"""Streams through the real session and loop, with stand-ins for the network and for its learning."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import REFINED_WITH, Case, Geometry, Prediction
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.protocols import material, streams
from napari_breastseg.evaluation.protocols import stream as streaming
from napari_breastseg.evaluation.protocols.material import Examination
from napari_breastseg.evaluation.protocols.stream import Plan, run_stream
from napari_breastseg.evaluation.protocols.streams import simulate_streams
from napari_breastseg.methods.model import Model, save_model
from napari_breastseg.phantom import OTHER_SCANNER, Phantom
from napari_breastseg.progress import Job, Progress, run
from napari_breastseg.session import Session
from napari_breastseg.training.replay import EXAM_SEEDS, PRACTICE_SEEDS

SHAPE = (16, 20, 24)
TRUTH = np.zeros(SHAPE, np.uint8)
TRUTH[3:13, 4:16, 5:19] = 1


def examination(number: int) -> Examination:
    images = np.random.default_rng(number).normal(100, 20, (2, *SHAPE)).astype(np.float32)
    return Examination(Case(f"case-{number}", images, Geometry((1.5, 1.5, 1.5), np.eye(4), (24, 20, 16))), TRUTH)


def skilled(case: Case, model: Model, *, device: str = "auto", region: str = "breast", mirror: bool = False) -> Job[Prediction]:
    """The truth, of which an unskilled model misses a part."""
    yield Progress(0, 1, "predicting")
    mask = TRUTH.copy()
    mask[..., 9 + 4 * model.card.get("skill", 0) :] = 0
    return Prediction(model.sha, mask.astype(np.float32), mask, mask)


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import stream_learner

    stream_learner.learned_from.clear()
    stream_learner.seeds.clear()
    monkeypatch.setattr("napari_breastseg.loop.annotation_loop.LEARNER", "stream_learner:learn")
    monkeypatch.setattr("napari_breastseg.loop.annotation_loop.load_model", stream_learner.load_model)
    monkeypatch.setattr(streaming, "load_model", stream_learner.load_model)
    monkeypatch.setattr("napari_breastseg.loop.annotation_loop.predict", skilled)
    monkeypatch.setattr(streaming, "predict", skilled)
    monkeypatch.setattr(streaming, "stream", lambda seed, cases: (examination(10 * seed + number) for number in range(cases)))
    monkeypatch.setattr(streaming, "base_set", lambda: (examination(100),))
    monkeypatch.setattr(streaming, "shifted_set", lambda: (examination(200), examination(201)))
    base = save_model({"weight": torch.zeros(2)}, {"preset": "hcma-unet/practical", "parent": None}, tmp_path)
    return Plan("learn", 0, cases=4, learn_every=1, look_back_every=2, model=str(base))


def without_seconds(record: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(record), object_hook=lambda found: {k: v for k, v in found.items() if k != "seconds"})


def test_a_stream_learns_after_every_case(plan: Plan, tmp_path: Path) -> None:
    import stream_learner

    record = run(run_stream(plan, tmp_path / "out"))
    befores = [row["dice"][0] for row in record["cases"]]
    found = [2 * found / (found + 14) for found in (4, 8, 12, 12)]  # of 14 columns; the third candidate is refused
    assert befores == pytest.approx(found, abs=1e-3)
    assert [row["adopted"] for row in record["rounds"]] == [True, True, False, False]
    assert stream_learner.learned_from == [[f"case-{i}" for i in range(n)] for n in (1, 2, 3, 4)]
    assert stream_learner.seeds == [1, 2, 3, 4]
    assert record["base"] == {"base": [pytest.approx(8 / 18, abs=1e-3)], "shifted": [pytest.approx(8 / 18, abs=1e-3)] * 2}
    assert record["rounds"][0]["sets"]["base"] == [pytest.approx(16 / 22, abs=1e-3)] and "sets" not in record["rounds"][2]
    assert [len(row.get("earlier", ())) for row in record["rounds"]] == [0, 2, 0, 4]
    assert record["complete"] and not (tmp_path / "out" / plan.name / "session").exists()
    assert all(row["dice"][-1] >= 0.9 or len(row["dice"]) == 21 for row in record["cases"])


def test_a_frozen_model_stays_as_it_is(plan: Plan, tmp_path: Path) -> None:
    record = run(run_stream(replace(plan, recipe="frozen"), tmp_path))
    assert [row["dice"][0] for row in record["cases"]] == pytest.approx([8 / 18] * 4, abs=1e-3)
    assert not any(row["adopted"] for row in record["rounds"])


def test_a_refined_case_needs_fewer_strokes_and_is_kept_as_it_was_shown(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    shown: list[np.ndarray] = []

    def all_at_once(case: Case, before: Prediction, annotation: np.ndarray) -> Job[Prediction]:
        yield Progress(0, 1, "refining")
        given.append(int((annotation == 1).sum()))
        return replace(before, refined=TRUTH, details={REFINED_WITH: {}})

    def approves(session: Session, case_id: str) -> None:
        shown.append(session.mask(case_id))

    monkeypatch.setattr(streaming, "refine", all_at_once)
    monkeypatch.setattr(streaming, "approve", approves)
    record = run(run_stream(replace(plan, recipe="refine"), tmp_path))
    assert [len(row["dice"]) for row in record["cases"]] == [2] * 4 and all(row["dice"][1] == 1 for row in record["cases"])
    assert len(given) == 4 and min(given) > 0 and all((mask == TRUTH).all() for mask in shown)
    assert not any(row["adopted"] for row in record["rounds"])


def test_cases_between_rounds_are_learned_together(plan: Plan, tmp_path: Path) -> None:
    import stream_learner

    record = run(run_stream(replace(plan, learn_every=3), tmp_path))
    assert [row["after"] for row in record["rounds"]] == [3, 4]
    assert [len(names) for names in stream_learner.learned_from] == [3, 4]
    assert [len(row["learned"]) for row in record["rounds"]] == [3, 1]


@pytest.mark.parametrize("stop", [5])
def test_a_stream_that_was_killed_goes_on(plan: Plan, tmp_path: Path, stop: int, whole: dict[str, Any]) -> None:
    """The work is cut off anywhere, and again every `stop` steps: the record is that of the stream that was left in peace."""
    for _ in range(200):
        job = run_stream(plan, tmp_path / "out")
        try:
            for _ in range(stop):
                next(job)
        except StopIteration as done:
            assert without_seconds(done.value) == whole
            return
        finally:
            job.close()
        stop += 1  # so that it ends
    raise AssertionError("never done")


def test_a_stream_that_refines_goes_on_after_kills(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refinement adds three columns to what is painted, so that a case takes several."""

    def some(case: Case, before: Prediction, annotation: np.ndarray) -> Job[Prediction]:
        yield Progress(0, 1, "refining")
        columns = int((annotation == 1).sum() > 0) + int((annotation == 1).any((0, 1)).sum()) // 2
        mask = np.array(before.refined)
        seen = int(mask.any((0, 1)).nonzero()[0].max()) + 1
        mask[:, :, seen : seen + columns] = TRUTH[:, :, seen : seen + columns]
        return replace(before, refined=mask, details={REFINED_WITH: {}})

    monkeypatch.setattr(streaming, "refine", some)
    full = replace(plan, recipe="full")
    whole = without_seconds(run(run_stream(full, tmp_path / "in-peace")))
    assert len(whole["cases"][0]["dice"]) > 2 and whole["rounds"][0]["adopted"]
    for stop in range(7, 200):
        job = run_stream(full, tmp_path / "out")
        try:
            for _ in range(stop):
                next(job)
        except StopIteration as done:
            assert without_seconds(done.value) == whole
            return
        finally:
            job.close()
    raise AssertionError("never done")


@pytest.fixture
def whole(plan: Plan, tmp_path: Path) -> dict[str, Any]:
    return without_seconds(run(run_stream(plan, tmp_path / "in-peace")))


def test_a_kill_between_strokes_and_between_round_and_record(
    plan: Plan, tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, write, calls = Session.record, streaming._write, {"strokes": 0, "writes": 0}

    def falters(self: Session, *arguments: Any) -> int:
        calls["strokes"] += 1
        if calls["strokes"] == 4:
            raise KeyboardInterrupt
        return record(self, *arguments)

    def forgets(path: Path, content: Any) -> None:
        calls["writes"] += 1
        if calls["writes"] == 6:  # the second round is in the session, but not in the record
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(Session, "record", falters)
    monkeypatch.setattr(streaming, "_write", forgets)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(run_stream(plan, tmp_path / "out"))
    assert without_seconds(run(run_stream(plan, tmp_path / "out"))) == whole


def test_finished_streams_are_not_run_again_and_settings_stay(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import stream_learner

    first = run(simulate_streams("p2", ["frozen", "learn"], 2, plan, tmp_path))
    done = len(stream_learner.learned_from)
    assert done == 8
    again = run(simulate_streams("p2", ["frozen", "learn"], 2, plan, tmp_path))
    assert again == first and len(stream_learner.learned_from) == done
    saved = first["figures"]["exact"]["learn"]["corrections_to_0.85"]["saved_percent"]
    assert 0 < saved[1] <= saved[0] <= saved[2]
    assert "Streams of 4 cases; a round of learning after every 1." in first["markdown"]
    assert {Path(path).name for path in first["files"]} >= {"p2.md", "p2.json", "dice-before.png", "forgetting.png"}
    assert run(simulate_streams("p4", ["learn"], 1, plan, tmp_path))["figures"]["exact"]["learn"]["forgetting"][0]["adopted"] == 2
    sloppy = run(simulate_streams("p5", ["learn"], 1, plan, tmp_path))
    assert set(sloppy["figures"]) == {"exact", "sloppy"} and len(stream_learner.learned_from) == done + 4
    monkeypatch.setitem(streams.RECIPES, "learn", replace(streams.RECIPES["learn"], refines=True))
    with pytest.raises(InputError, match="made: refines"):
        run(simulate_streams("p2", ["learn"], 1, plan, tmp_path))
    monkeypatch.undo()
    with pytest.raises(InputError, match="cases"):
        run(simulate_streams("p2", ["learn"], 1, replace(plan, cases=5), tmp_path))
    with pytest.raises(InputError, match="Choose among frozen"):
        run(simulate_streams("p2", ["best"], 1, plan, tmp_path))
    with pytest.raises(InputError, match="Choose p2"):
        run(simulate_streams("p7", ["full"], 1, plan, tmp_path))


def test_material_is_disjoint_and_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[int, tuple[float, int, object]] = {}

    def drawn(
        seed: int, shape: tuple[int, int, int], phases: int, lesions: int, diameter: float, benign: int, scanner: Any, rate: float
    ) -> Phantom:
        """Every third has no tumour, every third shows both breasts unless the scanner decides."""
        assert (phases, lesions, rate) == (2, 1, material.SLOW)
        made[seed] = diameter, benign, scanner
        spacing = (3.0, 1.8, 1.8) if scanner or seed % 3 else (1.5, 3.5, 3.5)
        tumour = np.full((6, 6, 6), seed % 3 != 1, np.uint8)
        case = Case(f"phantom-{seed}", np.zeros((2, 6, 6, 6), np.float32), Geometry(spacing, np.eye(4), (6, 6, 6)))
        return Phantom(case, tumour, tumour, tumour, seed)

    monkeypatch.setattr(material, "make_phantom", drawn)
    sets = {
        "stream 0": tuple(material.stream(0, 24)),
        "stream 1": tuple(material.stream(1, 24)),
        "base": material.base_set.__wrapped__(),
        "shifted": material.shifted_set.__wrapped__(),
    }
    seeds = {name: [int(one.case.name.split("-")[1]) for one in found] for name, found in sets.items()}
    assert [len(found) for found in seeds.values()] == [24, 24, material.BASE_CASES, material.SHIFTED_CASES]
    assert len({seed for found in seeds.values() for seed in found}) == 48 + material.BASE_CASES + material.SHIFTED_CASES
    assert [one.case.name for one in material.stream(0, 24)] == [one.case.name for one in sets["stream 0"]]
    for name, found in seeds.items():
        for seed in found:
            diameter, benign, scanner = made[seed]
            assert seed > 10_000 and seed % 3 != 1  # those of the starter weights and of the replay are below
            assert 15 <= diameter <= 45
            assert (
                (scanner is None and benign == 0 and seed % 3 == 2) if name == "base" else (scanner is OTHER_SCANNER and 2 <= benign <= 4)
            )


def test_recipes_and_annotators_of_a_protocol_are_known() -> None:
    assert all(set(names) <= set(streams.RECIPES) for names in streams.DEFAULT_RECIPES.values())


@pytest.mark.slow
def test_the_real_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One case through the real network and learner, with hardly any steps and exemplars."""
    monkeypatch.setattr("napari_breastseg.training.from_corrections.PRACTICE_SEEDS", PRACTICE_SEEDS[:1])
    monkeypatch.setattr("napari_breastseg.training.from_corrections.EXAM_SEEDS", EXAM_SEEDS[:1])
    one = tuple(material.stream(1, 1))
    cases = material.Material(material.stream, lambda: {"base": (), "shifted": one})
    record = run(run_stream(Plan("full", 0, cases=1, settings={"steps": 2}), tmp_path, "cpu", cases))
    trail, last = record["cases"][0]["dice"], record["rounds"][0]
    assert len(trail) > 1 and trail[-1] > trail[0]
    assert last["number"] == 1 and last["reasons"] and last["figures"]["candidate"]["replay"]
    assert len(last["learned"]) == 1 and ("sets" in last) == last["adopted"]
