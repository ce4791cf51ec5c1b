"""An examination whose tumour has a known curve, and the dock "Breast kinetics" on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from napari.components import ViewerModel

from napari_breastseg.case import Case
from napari_breastseg.widgets.kinetics.dock import KineticsWidget
from napari_breastseg.widgets.view.layers import case_layers, tumour_layer

Settled = Callable[[KineticsWidget], None]
RISE = np.array([0.0, 1.2, 1.5, 0.8])
"""Of a tumour's signal over the phases of `exam`, as a share of the baseline: fast, then wash-out."""


@pytest.fixture
def exam(tiny_case: Case) -> Case:
    """Four phases, one before the injection at 0 s; noise, and a tumour whose mean curve is known."""
    images = np.random.default_rng(4).normal(100.0, 5.0, (4, *tiny_case.shape)).astype(np.float32)
    images[:, 4:8, 5:10, 6:12] += 100 * RISE[:, None, None, None].astype(np.float32)
    return replace(tiny_case, name="exam", images=images, times=(-40.0, 90.0, 150.0, 450.0))


@pytest.fixture
def truth(exam: Case) -> npt.NDArray[np.uint8]:
    mask = np.zeros(exam.shape, np.uint8)
    mask[4:8, 5:10, 6:12] = 1
    return mask


@pytest.fixture
def open_kinetics(qtbot: Any) -> Iterator[Callable[..., KineticsWidget]]:
    opened: list[KineticsWidget] = []

    def open_it(viewer: Any, *cases: Case) -> KineticsWidget:
        for case in cases:
            show(viewer, case)
        dock = KineticsWidget(viewer)
        qtbot.addWidget(dock)
        opened.append(dock)
        return dock

    yield open_it
    for dock in opened:
        dock.shut()


@pytest.fixture
def calm(qtbot: Any) -> Settled:
    """Wait until nothing is being read, measured or computed."""

    def wait(dock: KineticsWidget) -> None:
        qtbot.wait(60)
        busy = lambda: dock.under_mouse.reading.busy or dock.lesion_watch.busy or dock.study.jobs.busy  # noqa: E731
        qtbot.waitUntil(lambda: not busy(), timeout=120_000)
        qtbot.wait(60)

    return wait


@pytest.fixture
def alone(open_kinetics: Any, exam: Case, truth: npt.NDArray[np.uint8], calm: Settled) -> KineticsWidget:
    """The dock without the main one, with an examination and its tumour."""
    dock: KineticsWidget = open_kinetics(ViewerModel(), exam)
    dock.study.viewer.add_layer(tumour_layer(truth.copy(), exam.geometry, {}))
    calm(dock)
    return dock


def show(viewer: Any, case: Case) -> None:
    """Open a case as the reader does."""
    for data, attributes, _ in case_layers(case):
        viewer.add_image(data, **attributes)


def point_at(dock: KineticsWidget, index: tuple[int, int, int]) -> None:
    """Move the mouse over a voxel, as the canvas tells of it."""
    viewer, spacing = dock.study.viewer, dock.study.case.geometry.spacing
    position = (*viewer.dims.point[:-3], *(i * size for i, size in zip(index, spacing, strict=True)))
    for callback in viewer.mouse_move_callbacks:
        callback(viewer, SimpleNamespace(position=position))


def around(images: npt.NDArray[np.float32], z: int, y: int, x: int) -> npt.NDArray[np.float64]:
    """The 3 x 3 x 3 voxels around one, shape (phase, voxel), cut at the image's edge."""
    cut = images[:, max(z - 1, 0) : z + 2, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
    return cut.reshape(len(images), -1).astype(np.float64)
