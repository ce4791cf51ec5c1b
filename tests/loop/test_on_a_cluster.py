"""Learning rounds on a worker of a Dask scheduler: the session here, the work there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import LocalCluster

from napari_breastseg.case import Case, Geometry
from napari_breastseg.compute import Where, on_scheduler
from napari_breastseg.errors import ComputeError
from napari_breastseg.loop import AnnotationLoop
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import load_model, save_model
from napari_breastseg.progress import Progress, run
from napari_breastseg.session import Edit, Session
from napari_breastseg.training.config import LearnConfig

Paint = Callable[..., int]
Learner = Callable[[str], None]


@pytest.fixture(scope="module")
def where() -> Iterator[Where]:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(Path(__file__).parent))
        with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
            yield on_scheduler(cluster.scheduler_address)


@pytest.fixture
def loop(session: Session, weights: Path, where: Where, paint: Paint) -> AnnotationLoop:
    paint(((2, 3), (2, 9), (2, 9)))
    paint(((5, 6), (2, 9), (2, 9)), value=0)
    return AnnotationLoop(session, weights, where=where)


def test_the_candidate_comes_back_and_is_adopted(session: Session, loop: AnnotationLoop, learner: Learner) -> None:
    learner("adopt")
    parent = session.current_model
    seen: list[Progress] = []
    outcome = run(loop.learn(), seen.append)
    assert outcome.adopted and session.current_model == outcome.model != parent
    assert load_model(session.model_path(outcome.model)).card["parent"] == parent
    assert outcome.figures["seen"]["tiny"]["images"] == [3, 12, 16, 20]
    assert "learning" in [progress.message for progress in seen]
    assert session.verify() == []


def test_a_real_round_on_images_of_one_slice(session: Session, where: Where, tmp_path: Path) -> None:
    torch.manual_seed(0)
    preset = get_preset("hcma-unet/ultrasound")
    loop = AnnotationLoop(session, save_model(preset.build().state_dict(), {"preset": preset.name}, tmp_path), "cpu", where=where)
    image = np.random.default_rng(0).rayleigh(40, (1, 1, 200, 256)).astype(np.float32)
    geometry = Geometry((1.0, 1.0, 1.0), np.diag([-1.0, -1.0, 1.0, 1.0]), (256, 200, 1))
    case_id = session.add_case(Case("image", image, geometry, modality="ultrasound"))
    for value, box in ((1, ((0, 1), (80, 120), (80, 160))), (0, ((0, 1), (10, 40), (10, 240)))):
        session.record(case_id, Edit(box, np.ones([high - low for low, high in box], bool), value, "paint", session.seq(case_id)))
    seen: list[Progress] = []
    outcome = run(loop.learn(LearnConfig(steps=2, gate=False)), seen.append)
    assert outcome.adopted and session.current_model == outcome.model
    losses = [progress.payload["loss"] for progress in seen if progress.payload and progress.payload.get("stage") == "train"]
    assert len(losses) == 2 and np.isfinite(losses).all()


def test_a_lost_worker_leaves_the_session_as_it_was(session: Session, loop: AnnotationLoop, learner: Learner) -> None:
    learner("killed")
    before = session.current_model, session.models(), session.rounds()
    with pytest.raises(ComputeError, match="worker of the learning process was lost"):
        run(loop.learn())
    assert (session.current_model, session.models(), session.rounds()) == before
