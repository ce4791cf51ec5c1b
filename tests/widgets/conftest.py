from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from napari.components import ViewerModel
from napari.settings._plugin_config_generator import plugin_configuration_generator
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QSettings
from safetensors.numpy import save_file

from napari_breastseg.case import REFINED_WITH, Case, Prediction
from napari_breastseg.inference.predict import Preview
from napari_breastseg.loop import RoundOutcome
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session
from napari_breastseg.widgets.desk import core_jobs, keys, preferences
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.parts import where as where_module
from napari_breastseg.widgets.sections import case as case_section
from napari_breastseg.widgets.view import layers

SHA = "ab" * 32
FIGURES = {
    "parent": {"corrected": 0.5, "held_out": 0.5, "replay": [0.8, 0.7], "replay_mean": 0.75, "cases": {"three": 0.81}},
    "candidate": {"corrected": 0.9, "held_out": 0.75, "replay": [0.8, 0.7], "replay_mean": 0.75, "cases": {"three": 0.72}},
    "base": {"corrected": 0.4, "held_out": None, "replay": [0.8, 0.7], "replay_mean": 0.76, "cases": {"three": 0.6}},
    "blend": 1.0,
}
"""What the gate of the stand-in measures."""
TRUTH = (slice(4, 8), slice(5, 10), slice(6, 12))


@dataclass
class FakeLoop:
    """The annotation loop without a network: a box is the tumour; it fails, waits or refuses as told."""

    session: Session | None = None
    error: Exception | None = None
    endless: bool = False
    adopted: bool = True
    reasons: tuple[str, ...] = ("Dice on the held-out corrections rose from 0.50 to 0.75.",)
    losses: tuple[float, ...] = (1.0, 0.8, 0.7, 0.5)
    scheduler: str = ""
    closed: list[str] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    def use_method(self, method: str) -> None:
        self.methods.append(method)

    def predict(self, case_id: str, region: str = "breast") -> Job[Prediction]:
        assert self.session is not None
        self.regions.append(region)
        shape = self.session.case(case_id).shape
        probability = np.zeros(shape, np.float32)
        probability[TRUTH] = 0.9
        mask = (probability > 0.5).astype(np.uint8)
        whole = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
        yield Progress(1, 3, "Coarse pass", Preview("coarse", whole, probability))
        yield from self._trouble("predict")
        box = tuple((part.start, part.stop) for part in TRUTH)
        yield Progress(2, 3, "Refining", Preview("refined", box, probability[TRUTH]))
        prediction = Prediction(SHA, probability, mask, mask, details={"device": "cpu"})
        self.session.add_prediction(case_id, prediction)
        return prediction

    def refine(self, case_id: str, strokes: npt.NDArray[np.uint8]) -> Job[Prediction]:
        """Find tumour in the whole row of every painted voxel."""
        assert self.session is not None
        yield Progress(1, 3, "Following your strokes")
        yield from self._trouble("refine")
        before = self.unrefine(case_id)
        mask = before.refined.copy()
        mask[(strokes == 1).any(2)] = 1
        refined = replace(before, refined=mask, details={REFINED_WITH: {}})
        self.session.add_prediction(case_id, refined)
        return refined

    def unrefine(self, case_id: str) -> Prediction:
        assert self.session is not None
        rows = self.session.predictions(case_id)
        own = self.session.prediction(case_id, [row.id for row in rows if not row.refined][-1])
        assert own is not None
        if rows[-1].refined:
            self.session.add_prediction(case_id, own)
        return own

    def learn(self) -> Job[RoundOutcome]:
        """Step, judge and store a round of two models that hold one number each."""
        session = self.session
        assert session is not None
        for step, loss in enumerate(self.losses, 1):
            yield Progress(step, len(self.losses), "Learning", {"stage": "train", "loss": loss})
        yield from self._trouble("learn")
        yield Progress(1, 2, "Judging", {"stage": "judge", "adopted": self.adopted, "reasons": list(self.reasons), "figures": FIGURES})
        if session.current_model is None:
            session.use_model(self._model(0.0, None))
        parent = str(session.current_model)
        candidate = self._model(len(session.rounds()) + 1.0, parent)
        number = session.add_round(session.cases, parent, candidate, self.adopted, self.reasons, FIGURES, {})
        return RoundOutcome(number, self.adopted, self.reasons, FIGURES, parent, candidate, 0.1)

    def _model(self, weight: float, parent: str | None) -> str:
        assert self.session is not None
        with tempfile.TemporaryDirectory() as folder:
            save_file({"w": np.full(1, weight, np.float32)}, Path(folder, "weights.safetensors"))
            return self.session.add_model(Path(folder, "weights.safetensors"), {"parent": parent})

    def _trouble(self, what: str) -> Job[None]:
        try:
            if self.error is not None:
                raise self.error
            while self.endless:
                time.sleep(0.01)
                yield Progress(1, 0, "Waiting")
        finally:
            self.closed.append(what)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    fake = FakeLoop()

    def make(session: Session, device: str, scheduler: str = "", model: str = "") -> FakeLoop:
        fake.session, fake.scheduler = session, scheduler
        return fake

    monkeypatch.setattr(core_jobs, "make_loop", make)
    return fake


@pytest.fixture(autouse=True)
def own_preferences(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the manifest says by default, kept in no file: not what whoever runs the tests chose in napari."""
    settings = plugin_configuration_generator()[preferences.NAME](config_path=None)
    monkeypatch.setattr(keys, "preferences", lambda: settings)
    return settings


@pytest.fixture
def notices() -> Iterator[list[str]]:
    """The sentences that were told to the person during the test."""
    told: list[str] = []

    def keep(notice: Any) -> None:
        told.append(notice.message)

    notification_manager.notification_ready.connect(keep)
    yield told
    notification_manager.notification_ready.disconnect(keep)


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty usual place for sessions; what the dock remembers is kept beside it."""
    monkeypatch.setattr(where_module, "settings", lambda: QSettings(str(tmp_path / "dock.ini"), QSettings.Format.IniFormat))
    monkeypatch.setattr(case_section, "sessions_folder", lambda: tmp_path / "sessions")
    return tmp_path / "sessions"


@pytest.fixture
def open_dock(qtbot: Any, loop: FakeLoop, sessions: Path) -> Iterator[Callable[..., BreastSegWidget]]:
    """Open the dock on a viewer without a window, which takes a tenth of the time."""
    opened: list[BreastSegWidget] = []

    def open_it(viewer: Any = None) -> BreastSegWidget:
        dock = BreastSegWidget(viewer or ViewerModel())
        qtbot.addWidget(dock)
        opened.append(dock)
        return dock

    yield open_it
    for dock in opened:
        dock.shut()
        qtbot.waitUntil(lambda: not dock.desk.jobs.busy, timeout=180_000)  # noqa: B023


@pytest.fixture
def window_dock(make_napari_viewer: Any, loop: FakeLoop, sessions: Path, settled: Any, tiny_case: Case) -> BreastSegWidget:
    """The dock in a real window, as napari's menu opens it, with a prediction."""
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-breastseg", "Breast segmentation")
    assert isinstance(dock, BreastSegWidget)
    work_on(dock, tiny_case, settled)
    return dock


@pytest.fixture
def settled(qtbot: Any) -> Callable[[BreastSegWidget], None]:
    """Wait until the dock runs no job and every stroke has left its queue."""

    def wait(dock: BreastSegWidget) -> None:
        qtbot.waitUntil(lambda: not dock.desk.jobs.busy, timeout=180_000)
        journal = dock.desk.journal
        if journal is not None:
            qtbot.waitUntil(lambda: journal.idle, timeout=180_000)
        for section in (dock.explain, dock.learn, dock.versions):
            qtbot.waitUntil(lambda: not section.reading.busy, timeout=180_000)  # noqa: B023
        qtbot.wait(50)

    return wait


@pytest.fixture
def dock_with_case(open_dock: Any, settled: Any, tiny_case: Case) -> BreastSegWidget:
    dock: BreastSegWidget = open_dock()
    use(dock, tiny_case, settled)
    return dock


@pytest.fixture
def predicted(dock_with_case: BreastSegWidget, settled: Any) -> BreastSegWidget:
    dock_with_case.predict.predict.click()
    settled(dock_with_case)
    return dock_with_case


def use(dock: BreastSegWidget, case: Case, settled: Any) -> None:
    """Open the case as the reader does, and press Use."""
    for data, attributes, _ in layers.case_layers(case):
        dock.desk.viewer.add_image(data, **attributes)
    dock.case.use.click()
    settled(dock)


def work_on(dock: BreastSegWidget, case: Case, settled: Any) -> None:
    """Use the case and predict."""
    use(dock, case, settled)
    dock.predict.predict.click()
    settled(dock)


def paint(dock: BreastSegWidget, where: tuple[int, int, int], label: int = 1) -> None:
    """Make one stroke of a single dab in the slice z, as napari's mouse code does."""
    layer = dock.desk.painter.layer
    z = where[0]
    dock.desk.viewer.dims.set_point(dock.desk.viewer.dims.ndim - 3, z * layer.scale[0])
    with layer.block_history():
        layer.paint(where, label)
