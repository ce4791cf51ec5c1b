"""Every tool of napari journals exactly what it changed, however the layer is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_breastseg.case import UNDECIDED, Geometry, overlay
from napari_breastseg.session import Session
from napari_breastseg.widgets.desk.journal import StrokeJournal
from napari_breastseg.widgets.view.layers import tumour_layer
from napari_breastseg.widgets.view.painting import TumourPainter

pytestmark = pytest.mark.qt


class Bench:
    """A painted layer in a viewer without a window, and its journal."""

    def __init__(self, session: Session, case_id: str, geometry: Geometry) -> None:
        self.session, self.case_id = session, case_id
        self.viewer = ViewerModel()
        self.predicted = np.zeros(session.case(case_id).shape, np.uint8)
        self.predicted[4:8, 5:10, 6:12] = 1
        annotation = session.annotation(case_id)
        self.layer = tumour_layer(overlay(self.predicted, annotation), geometry, {})
        self.viewer.add_layer(self.layer)
        self.layer.brush_size = 3
        self.layer.mode = "paint"
        self.journal = StrokeJournal(session, case_id)
        self.painter = TumourPainter(self.layer, self.predicted, annotation, self.journal, lambda box: None)
        self.journal.changed.connect(self.painter.follow)


@pytest.fixture
def bench(tmp_path: Any, tiny_case: Any, qtbot: Any) -> Iterator[Bench]:
    with Session.create(tmp_path / "session") as session:
        made = Bench(session, session.add_case(tiny_case), tiny_case.geometry)
        yield made
        made.journal.close()


@pytest.fixture
def journaled(bench: Bench, qtbot: Any) -> Callable[[], None]:
    """Wait until all is saved; the journal then says what is on the layer, and nothing about what was left alone."""

    def check() -> None:
        qtbot.wait(20)
        qtbot.waitUntil(lambda: bench.journal.idle, timeout=60_000)
        annotation = bench.session.annotation(bench.case_id)
        shown = bench.layer.data
        assert np.array_equal(overlay(bench.predicted, annotation), shown)
        assert np.array_equal(annotation[shown != bench.predicted], shown[shown != bench.predicted])
        assert np.array_equal(annotation, bench.painter.annotation)

    return check


def tools(bench: Bench) -> list[str]:
    return [row.tool for row in bench.session.edits(bench.case_id)]


def drag(bench: Bench, points: list[tuple[float, float, float]], label: int) -> None:
    """Draw from point to point with napari's interpolation, as one stroke."""
    with bench.layer.block_history():
        for start, end in zip([points[0], *points], points, strict=False):
            bench.layer._draw(label, start, end)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize(("mode", "label", "tool"), [("paint", 1, "brush"), ("erase", 0, "eraser")])
def test_dabs_and_drags(bench: Bench, journaled: Any, order: tuple[int, ...], dimensions: int, mode: str, label: int, tool: str) -> None:
    bench.viewer.dims.order = order
    bench.layer.n_edit_dimensions, bench.layer.mode = dimensions, mode
    before = bench.layer.data.copy()
    drag(bench, [(5.0, 6.0, 7.0), (5.0, 9.0, 7.0), (7.0, 9.0, 13.0)], label)
    journaled()
    drag(bench, [(5.0, 6.0, 11.0)], label)
    journaled()
    assert not np.array_equal(bench.layer.data, before)
    assert set(tools(bench)) == {tool}
    said = bench.session.annotation(bench.case_id) != UNDECIDED
    assert np.array_equal(said, bench.layer.data != before)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_fill(bench: Bench, journaled: Any, order: tuple[int, ...], dimensions: int) -> None:
    bench.viewer.dims.order = order
    bench.layer.n_edit_dimensions, bench.layer.mode = dimensions, "fill"
    with bench.layer.block_history():
        bench.layer.fill((6, 7, 8), 0)
    journaled()
    assert (
        bench.layer.data.sum()
        == {2: bench.predicted.sum() - bench.predicted.take(8 if order[0] == 2 else 6, order[0]).sum(), 3: 0}[dimensions]
    )
    assert tools(bench) == ["fill"]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_a_polygon_of_which_napari_tells_before_it_is_painted(bench: Bench, journaled: Any, order: tuple[int, ...]) -> None:
    bench.viewer.dims.order = order
    bench.layer.mode = "polygon"
    corners = np.array([[2.0, 2.0], [2.0, 9.0], [9.0, 9.0]])
    points = np.insert(corners, order[0], 3.0, axis=1)
    bench.layer.paint_polygon(points, 1)
    journaled()
    assert bench.layer.data.sum() > bench.predicted.sum()
    assert tools(bench) == ["polygon"]


def test_undo_right_after_a_polygon_takes_the_polygon_back(bench: Bench, journaled: Any) -> None:
    bench.layer.mode = "polygon"
    before = bench.layer.data.copy()
    bench.layer.paint_polygon(np.array([[3.0, 2.0, 2.0], [3.0, 2.0, 9.0], [3.0, 9.0, 9.0]]), 1)
    bench.painter.undo()
    journaled()
    assert tools(bench) == ["polygon", "undo"]
    assert np.array_equal(bench.layer.data, before)


def test_voxels_set_by_index(bench: Bench, journaled: Any) -> None:
    where = (np.array([1, 9]), np.array([2, 3]), np.array([4, 5]))
    bench.layer.data_setitem(where, 1)
    bench.layer.data_setitem(tuple(axis + 1 for axis in where), 1)
    journaled()
    assert (bench.session.annotation(bench.case_id) != UNDECIDED).sum() == 4


def test_what_came_without_an_event_is_journaled_when_the_layer_is_left(bench: Bench, journaled: Any) -> None:
    bench.layer.data[2, 2, 2] = 1
    bench.painter.detach()
    journaled()
    assert bench.session.annotation(bench.case_id)[2, 2, 2] == 1


def test_an_undo_spares_what_is_being_painted(bench: Bench, journaled: Any, qtbot: Any) -> None:
    drag(bench, [(9.0, 3.0, 3.0)], 1)
    journaled()
    with bench.layer.block_history():
        bench.layer.paint((9, 3, 4), 1)
        bench.painter.undo()
        qtbot.waitUntil(lambda: bench.session.seq(bench.case_id) == 2, timeout=60_000)
        qtbot.wait(50)
        assert bench.layer.data[9, 3, 5] == 1
        assert bench.layer.data[9, 3, 2] == 0
    journaled()
    assert tools(bench) == ["brush", "undo", "brush"]
