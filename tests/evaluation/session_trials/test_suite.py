"""The command runs every trial and says for each whether its aims were met; how fast anything is, is not tested."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.cli.session_trials import trial_tables
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.session_trials import suite
from napari_breastseg.evaluation.session_trials.history import History
from napari_breastseg.evaluation.session_trials.latency import sphere, stroke_latency
from napari_breastseg.evaluation.session_trials.stores import open_stores
from napari_breastseg.evaluation.session_trials.suite import PLANS, Plan, benchmark_session
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.progress import Job, Progress, run

SMALL = (40, 64, 64)


def test_the_stores_keep_the_same_labels_and_the_same_versions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    history = History(SMALL)
    stores = {name: store for name, store in open_stores(tmp_path, SMALL).items() if store}
    for base in range(5):
        edit = sphere(rng, base, SMALL)
        history.record(edit)
        for store in stores.values():
            store.commit(edit)
    for name, store in stores.items():
        for seq, labels in enumerate(history.versions):
            found = store.version(seq)
            assert found is None if name == "zarr in place" else np.array_equal(found, labels)
        store.close()


def test_latency_counts_every_stroke_and_compares_the_stores(tmp_path: Path) -> None:
    trial = run(stroke_latency(tmp_path, strokes=60, compared=10, shape=SMALL))
    figures = trial.figures
    assert [row["store"] for row in figures["stores"]] == ["session", "zarr in place", "icechunk"]
    assert figures["strokes"] == 60 and figures["main_thread"]["unsaved"] == 0
    assert 0 < figures["journal_kb"] <= figures["growth_kb"]
    assert {aim.unit for aim in trial.aims} == {"ms", "kB", "s"} and all(aim.measured > 0 for aim in trial.aims)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(place: Path, count: int) -> Job[Trial]:
        assert place.is_dir()
        yield Progress(0, 1, "Trying")
        return Trial("kept", (Aim("lost", 0),), {"count": count})

    def broken(place: Path, count: int) -> Job[Trial]:
        yield Progress(0, 1, "Trying")
        return Trial("broken", (Aim("lost", 1),), problems=("Edit 7 was acknowledged and is not there.",))

    def impossible(place: Path, count: int) -> Job[Trial]:
        yield Progress(0, 1, "Trying")
        return Trial("impossible", skipped="it needs root")

    trials = {"kept": kept, "broken": broken, "impossible": impossible}
    monkeypatch.setattr(suite, "PLANS", {name: Plan(job, 7, 2) for name, job in trials.items()})


@pytest.mark.usefixtures("plans")
def test_every_trial_is_run_and_told(tmp_path: Path) -> None:
    answer = json.loads(json.dumps(run(benchmark_session(tmp_path))))
    assert [(trial["name"], trial["met"]) for trial in answer["trials"]] == [("kept", True), ("broken", False), ("impossible", None)]
    assert answer["met"] is False
    assert answer["folder"] == str(tmp_path) and list(tmp_path.iterdir()) == []
    assert {"python", "zarr", "sqlite", "icechunk"} <= answer["machine"]["versions"].keys()
    shown = " ".join(str(part) for part in trial_tables(answer))
    assert "Not met: broken." in shown and "impossible was skipped: it needs root." in shown and "Edit 7" in shown


@pytest.mark.usefixtures("plans")
def test_chosen_trials_run_in_the_chosen_number(tmp_path: Path) -> None:
    for quick, count in ((False, 7), (True, 2)):
        (trial,) = run(benchmark_session(only=["kept"], quick=quick))["trials"]
        assert trial["figures"]["count"] == count


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        run(benchmark_session(tmp_path / "nowhere"))


def test_the_command_offers_every_trial() -> None:
    from napari_breastseg.cli.benchmark import Trials

    assert [str(name) for name in Trials] == list(PLANS)
