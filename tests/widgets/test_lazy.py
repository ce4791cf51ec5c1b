"""Large cases: what is read, when, and what is said of what cannot be read."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_breastseg.case import Case, Geometry, Prediction
from napari_breastseg.errors import SessionError
from napari_breastseg.session import Session
from napari_breastseg.session.disk.images import StoredImage
from napari_breastseg.widgets.dock import BreastSegWidget
from napari_breastseg.widgets.view import layers
from napari_breastseg.widgets.view.lazy import Slabs

from .conftest import use

pytestmark = pytest.mark.qt
SHAPE = (3, 130, 70, 66)
TUMOUR = (slice(98, 106), slice(20, 30), slice(30, 40))


@pytest.fixture(scope="module")
def deep() -> Case:
    """Three phases in three slabs, each of four chunks."""
    images = np.random.default_rng(0).normal(200.0, 40.0, SHAPE).astype(np.float32)
    return Case("deep", images, Geometry((1.0, 0.5, 0.5), np.diag([-0.5, -0.5, 1.0, 1.0]), (66, 70, 130)), (0.0, 90.0, 180.0))


@pytest.fixture
def stored(deep: Case, tmp_path: Path) -> Path:
    """A session with that case and a prediction."""
    with Session.create(tmp_path / "stored") as session:
        case_id = session.add_case(deep)
        mask = np.zeros(deep.shape, np.uint8)
        mask[TUMOUR] = 1
        session.add_prediction(case_id, Prediction("ab" * 32, mask.astype(np.float32), mask, mask))
    return tmp_path / "stored"


class Reads:
    """What was read of stored images, as (voxels' type, place)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places: list[tuple[str, Any]] = []
        read = StoredImage.__getitem__

        def noted(image: StoredImage, index: Any) -> npt.NDArray[Any]:
            self.places.append((f"{image.dtype}{len(image.shape)}", index))
            return read(image, index)

        monkeypatch.setattr(StoredImage, "__getitem__", noted)

    def images(self) -> list[tuple[int, int]]:
        """Return the phase and the first slice of each part of the images that was read since the last time."""
        found = [(index[0].start, index[1].start) for kind, index in self.places if kind == "float324"]
        self.places = [place for place in self.places if place[0] != "float324"]
        return found

    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.places}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def opened(open_dock: Any, settled: Any, stored: Path, reads: Reads) -> BreastSegWidget:
    dock: BreastSegWidget = open_dock()
    dock.desk.open_session(stored)
    settled(dock)
    return dock


def test_opening_reads_the_one_slab_that_is_shown(opened: BreastSegWidget, reads: Reads) -> None:
    assert reads.images() == [(1, 64)]  # the phase after contrast, where the tumour is
    assert reads.kinds() == {"uint83"}  # the mask; neither the probability nor another phase
    assert opened.desk.viewer.dims.point[:2] == (1.0, 98.0)


def test_scrolling_reads_a_slab_once(opened: BreastSegWidget, reads: Reads, deep: Case) -> None:
    viewer, image = opened.desk.viewer, opened.desk.view.layer("case")
    reads.images()
    for z in (100, 127, 128, 129, 64, 63, 101):
        viewer.dims.set_point(1, z * 1.0)
        assert np.array_equal(image._slice.image.raw, deep.images[1, z])
    assert reads.images() == [(1, 128), (1, 0)]
    viewer.dims.set_point(0, 2)
    assert np.array_equal(image._slice.image.raw, deep.images[2, 101])
    assert reads.images() == [(2, 64)]


def test_the_subtraction_is_computed_where_it_is_looked_at(opened: BreastSegWidget, reads: Reads, deep: Case) -> None:
    reads.images()
    layer = opened.desk.view.layer("subtraction")
    before = tuple(layer.contrast_limits)
    layer.visible = True
    assert reads.images() == [(0, 64)]  # the other phase is in memory already
    difference = deep.images[1] - deep.images[0]
    assert np.array_equal(layer._slice.image.raw, difference[98])
    assert tuple(layer.contrast_limits) != before
    assert layer.contrast_limits[1] == pytest.approx(np.percentile(difference[64:128], 99.95), rel=0.2)
    layer.contrast_limits = (3.0, 30.0)
    layer.visible = False
    layer.visible = True
    assert tuple(layer.contrast_limits) == (3.0, 30.0)


def test_the_probability_is_read_when_it_is_shown(opened: BreastSegWidget, reads: Reads) -> None:
    layer = opened.desk.view.layer("probability")
    assert "float323" not in reads.kinds()
    layer.visible = True
    assert "float323" in reads.kinds()
    assert layer._slice.image.raw[25, 35] == 1.0


def test_another_axis_and_the_whole_volume_are_right(opened: BreastSegWidget, deep: Case) -> None:
    viewer, image = opened.desk.viewer, opened.desk.view.layer("case")
    viewer.dims.order = (0, 2, 1, 3)
    viewer.dims.set_point(2, 20 * 0.5)
    assert np.array_equal(image._slice.image.raw, deep.images[1, :, 20])
    viewer.dims.ndisplay = 3
    assert np.array_equal(np.sort(image._slice.image.raw, axis=None), np.sort(deep.images[1], axis=None))


def test_what_is_kept_is_bounded_and_read_again_when_needed() -> None:
    read: list[int] = []

    def make(number: int) -> npt.NDArray[Any]:
        read.append(number)
        return np.zeros(100, np.uint8)

    slabs = Slabs(limit=250)
    for number in (0, 1, 0, 2, 0, 1):
        slabs.get((number,), lambda: make(number))  # noqa: B023
    assert read == [0, 1, 2, 1]
    with pytest.raises(ZeroDivisionError):
        slabs.get((9,), lambda: np.zeros(1 // 0))
    assert slabs.get((9,), lambda: np.ones(3)).sum() == 3


def test_an_image_in_memory_is_neither_copied_nor_read_again(deep: Case) -> None:
    (image, *_), (subtraction, *_) = layers.case_layers(deep)
    assert image is deep.images
    assert np.array_equal(np.asarray(subtraction[5]), deep.images[1, 5] - deep.images[0, 5])


def test_damage_is_told_in_a_sentence_and_the_rest_is_shown(
    stored: Path, deep: Case, notices: list[str], open_dock: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shard,) = (stored / "cases").glob("*/0/c/1/0/0/0")
    _flip_a_bit(shard, chunk=4, chunks=12)  # the first one of the second slab
    dock = open_dock()
    dock.desk.open_session(stored)
    settled(dock)
    image = dock.desk.view.layer("case")
    shown = image._slice.image.raw
    assert len(notices) == 1
    assert "cannot be read" in notices[0] and "Restore it from a backup" in notices[0] and "Traceback" not in notices[0]
    assert np.isnan(shown[:64, :64]).all()
    assert np.array_equal(shown[64:], deep.images[1, 98, 64:])
    assert np.isfinite(image.contrast_limits).all()
    dock.desk.viewer.dims.set_point(1, 100.0)
    assert len(notices) == 1  # once is enough


def _flip_a_bit(shard: Path, chunk: int, chunks: int) -> None:
    data = bytearray(shard.read_bytes())
    index = np.frombuffer(data[-16 * chunks - 4 : -4], "<u8").reshape(chunks, 2)
    data[int(index[chunk, 0]) + 1000] ^= 4
    shard.write_bytes(data)


def test_a_case_that_is_copied_in_is_let_go_of_in_memory(open_dock: Any, settled: Any, deep: Case, qtbot: Any) -> None:
    def use_a_copy() -> weakref.ref[npt.NDArray[np.float32]]:
        images = deep.images.copy()
        use(dock, Case(deep.name, images, deep.geometry, deep.times), settled)
        return weakref.ref(images)

    dock = open_dock()
    held = use_a_copy()
    assert np.array_equal(np.asarray(dock.desk.view.layer("case").data[2]), deep.images[2])
    qtbot.waitUntil(lambda: gc.collect() >= 0 and held() is None, timeout=60_000)


def test_an_image_of_another_reader_is_checked_when_it_is_used(open_dock: Any, settled: Any, notices: list[str]) -> None:
    values = np.ones((4, 5, 6), np.float32)
    values[3, 2, 1] = np.inf
    dock = open_dock()
    dock.desk.viewer.add_layer(Image(values, name="foreign"))
    dock.case.use.click()
    settled(dock)
    assert len(notices) == 1 and "without a finite value" in notices[0]
    assert dock.desk.session is None


def test_a_foreign_lazy_image_stays_lazy() -> None:
    import dask.array as da

    def fail(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        raise SessionError("It was read.")

    never = da.zeros((20, 30, 40), dtype=np.int16).map_blocks(fail, dtype=np.int16, meta=np.empty((0, 0, 0), np.int16))
    layer = Image(never, contrast_limits=(0, 1), visible=False)
    ViewerModel().add_layer(layer)
    assert layers.case_of(layer).images.shape == (1, 20, 30, 40)
