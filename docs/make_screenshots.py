"""Makes the pictures of the README: drives napari through its real menus, buttons and mouse, and saves what the window shows.

    make screenshots                                  (on Linux, on a virtual screen)
    python docs/make_screenshots.py [--out FOLDER]    (elsewhere, on the machine's own)

The pictures of Explain and of the kinetics show a real examination, and are made only where NAPARI_BREASTSEG_DATA names the folder that
holds it.
Nothing outside a temporary folder and the output folder is touched.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

SIZE = (1500, 950)
HOUR = 3600.0
Points = list[tuple[float, float]]


class Driver:
    """A person at napari's window, who waits for what must come."""

    def __init__(self, out: Path) -> None:
        import napari
        from qtpy.QtWidgets import QApplication, QMainWindow

        self.out = out
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*SIZE)
        self.app = QApplication.instance()
        self.window = next(widget for widget in QApplication.topLevelWidgets() if isinstance(widget, QMainWindow) and widget.isVisible())
        self.wait(lambda: self.window.width() == SIZE[0], 30)

    def wait(self, ready: Callable[[], bool], seconds: float) -> None:
        """Let the window live until `ready`."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:.0f} s in vain")
            self.pause(0.02)

    def pause(self, seconds: float) -> None:
        """Let the window live for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.03)  # not faster: what the window computes meanwhile needs the processor

    def choose(self, *path: str) -> None:
        """Choose an entry of the menu bar, by the beginnings of its names."""
        actions = self.window.menuBar().actions()
        for name in path:
            found = [action for action in actions if action.text().replace("&", "").startswith(name)]
            if not found:
                raise LookupError(f"no menu entry {name}; there are {[action.text() for action in actions]}")
            menu = found[0].menu()
            if menu is not None:
                menu.aboutToShow.emit()
                actions = menu.actions()
        found[0].trigger()
        self.pause(0.2)

    def click(self, button: object) -> None:
        """Press a button with the left mouse button."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        self.dock.scroll_area.ensureWidgetVisible(button)
        self.wait(button.isEnabled, 30)
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        self.pause(0.1)

    def drag(self, points: Points) -> None:
        """Draw along points (y, x) in mm of the slice that is shown."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest

        canvas = next(w for w in self.window.findChildren(object) if type(w).__name__.startswith("CanvasBackend"))
        _, y0, x0 = self.viewer.scene.camera.center
        places = [
            QPoint(
                round(canvas.width() / 2 + (x - x0) * self.viewer.scene.camera.zoom),
                round(canvas.height() / 2 + (y - y0) * self.viewer.scene.camera.zoom),
            )
            for y, x in points
        ]
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=places[0])
        for place in places[1:]:
            QTest.mouseMove(canvas, place)
            self.pause(0.02)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=places[-1])
        self.pause(0.1)

    def open_dock(self) -> None:
        """Open the dock from the Layers menu."""
        from napari_breastseg.widgets.dock import BreastSegWidget

        self._open(BreastSegWidget, "Segment", "Breast segmentation")

    def open_kinetics(self) -> None:
        """Open the dock of kinetics from the Layers menu."""
        from napari_breastseg.widgets.kinetics.dock import KineticsWidget

        self._open(KineticsWidget, "Measure", "Breast kinetics")

    def _open(self, kind: type, *path: str) -> None:
        self.choose("Layers", *path)
        self.wait(lambda: bool(self.window.findChildren(kind)), 60)
        (self.dock,) = self.window.findChildren(kind)

    def idle(self, seconds: float = HOUR) -> None:
        """Wait until no job runs and every stroke is saved."""
        desk = self.dock.desk
        self.pause(0.3)
        self.wait(lambda: not desk.jobs.busy and (desk.journal is None or not desk.journal.unsaved), seconds)
        self.pause(0.5)

    def picture(self, name: str) -> None:
        """Save what the window shows."""
        self.pause(0.5)
        self.viewer.screenshot(str(self.out / name), canvas_only=False, flash=False)
        print(self.out / name, flush=True)

    def correct_slice(self, truth: npt.NDArray[np.uint8], value: int) -> bool:
        """Paint what is missing (1) or erase what is wrong (0) in the slice where there is most of it; False if there is nothing."""
        from napari_breastseg.case import TUMOUR

        desk = self.dock.desk
        wrong = (truth == value) & (desk.painter.layer.data != value)
        z = int(wrong.sum(axis=(1, 2)).argmax())
        if wrong[z].sum() < 12:
            return False
        _, dy, dx = desk.view.case.geometry.spacing
        self.viewer.dims.set_point(1, z * desk.view.case.geometry.spacing[0])
        depth = ndimage.distance_transform_edt(truth[z] == value)
        labels, _ = ndimage.label(wrong[z])
        biggest = labels == np.bincount(labels[labels > 0]).argmax()
        reach = min(3.0, float(depth[biggest].max()))
        self.click(self.dock.correct.paint if value == TUMOUR else self.dock.correct.erase)
        self.dock.correct.brush.setValue(max(1, int(2 * reach - 1)))
        rows, columns = np.nonzero(biggest & (depth >= reach))
        order = np.argsort(columns if np.ptp(columns) > np.ptp(rows) else rows)
        self.drag([(float(rows[i] * dy), float(columns[i] * dx)) for i in order[:: max(1, len(order) // 12)]])
        self.idle(60)
        return True


def zoom_to(driver: Driver, truth: npt.NDArray[np.uint8], width_mm: float) -> None:
    """Bring the lesion to the middle of the canvas."""
    spacing = driver.dock.desk.view.case.geometry.spacing
    z, y, x = (float(c * s) for c, s in zip(ndimage.center_of_mass(truth), spacing, strict=True))
    driver.viewer.scene.camera.center = (z, y, x)
    driver.viewer.scene.camera.zoom = 700 / width_mm
    driver.viewer.dims.set_point(1, z)


def tour(out: Path) -> None:
    """Go through the work once and save a picture at each step."""
    driver = Driver(out)
    driver.choose("File", "Open Sample", "napari-breastseg", "DCE-MRI breast phantom")
    driver.wait(lambda: len(driver.viewer.layers) == 2, HOUR)
    truth = driver.viewer.layers[0].metadata["breastseg_truth"]
    driver.open_dock()
    driver.click(driver.dock.case.use)
    driver.idle()
    driver.viewer.reset_view()
    driver.viewer.dims.set_point(1, float(ndimage.center_of_mass(truth)[0] * driver.dock.desk.view.case.geometry.spacing[0]))
    driver.picture("01_case.png")
    driver.click(driver.dock.predict.predict)
    driver.idle()
    driver.picture("02_predict.png")
    zoom_to(driver, truth, 120.0)
    strokes = 0
    while strokes < 8 and (driver.correct_slice(truth, 1) | driver.correct_slice(truth, 0)):
        strokes += 1
    zoom_to(driver, truth, 120.0)
    driver.picture("04_correct.png")
    learn = driver.dock.learn
    driver.click(learn.learn)
    driver.wait(lambda: len(learn.curve.losses) >= 20, HOUR)
    driver.dock.scroll_area.ensureWidgetVisible(learn.curve)
    driver.picture("05_learning.png")
    driver.idle()
    driver.click(learn.learned.ask)
    driver.idle()
    driver.dock.scroll_area.ensureWidgetVisible(learn.learned.table)
    driver.picture("05_learned.png")
    driver.click(learn.learned.hide_it)
    versions = driver.dock.versions
    versions.timeline.setCurrentRow(versions.timeline.count() - 1)
    driver.click(versions.travel.compare)
    driver.wait(lambda: not versions.reading.busy, 60)
    driver.pause(2)  # the timeline's pictures come one by one
    driver.dock.scroll_area.ensureWidgetVisible(versions.use)
    driver.picture("06_versions.png")
    driver.viewer.close()


def images(out: Path) -> None:
    """Predict an ultrasound image and a mammogram, and show the contours of the coarse and of the refined predictions."""
    for sample, name in (("Breast ultrasound phantom", "09_ultrasound.png"), ("Mammogram phantom", "10_mammogram.png")):
        driver = Driver(out)
        driver.choose("File", "Open Sample", "napari-breastseg", sample)
        driver.wait(lambda viewer=driver.viewer: len(viewer.layers) == 1, HOUR)
        driver.open_dock()
        driver.click(driver.dock.case.use)
        driver.idle()
        driver.click(driver.dock.predict.predict)
        driver.idle()
        driver.click(driver.dock.predict.contours)
        driver.viewer.reset_view()
        driver.picture(name)
        driver.viewer.close()


def real(out: Path, data: Path) -> None:
    """Explain the starter model's prediction of the real examination, at the first row near the tumour that is likely a vessel."""
    driver = Driver(out)
    driver.viewer.open(str(data / "duke_153" / "native_crop"), plugin="napari-breastseg")
    driver.open_dock()
    driver.click(driver.dock.case.use)
    driver.idle()
    driver.click(driver.dock.predict.predict)
    driver.idle()
    section = driver.dock.explain
    driver.click(section.show_why)
    driver.idle()
    rows = [[section.table.item(line, column).text() for column in (4, 5)] for line in range(section.table.rowCount())]
    chosen = [line for line, (distance, cause) in enumerate(rows) if cause == "vessel-like" and float(distance) < 15]
    section.table.selectRow(chosen[0] if chosen else 0)
    driver.viewer.scene.camera.zoom = 700 / 120.0
    driver.dock.scroll_area.ensureWidgetVisible(section.hint)
    driver.picture("03_explain.png")
    driver.viewer.close()


def kinetics(out: Path, data: Path) -> None:
    """Show the kinetics of the real examination: its lesion's curve beside two others, curve types, and clusters of curves."""
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    from napari_breastseg.io import read_mask
    from napari_breastseg.widgets.view.layers import CASE, tumour_layer

    driver = Driver(out)
    folder = data / "duke_153" / "native_crop"
    driver.viewer.open(str(folder), plugin="napari-breastseg")
    case = driver.viewer.layers[0].metadata[CASE]
    driver.viewer.add_layer(tumour_layer(read_mask(folder / "duke_153_tumour_semiauto.nii.gz", case), case.geometry, {}))
    driver.open_kinetics()
    dock = driver.dock
    driver.wait(lambda: dock.lesion_watch.kinetics is not None, 60)
    driver.viewer.scene.camera.zoom = 700 / 100.0
    driver.click(dock.lesion.go)
    canvas = next(w for w in driver.window.findChildren(object) if type(w).__name__.startswith("CanvasBackend"))
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    for place in (middle, middle + QPoint(90, -60), middle + QPoint(-120, 40)):
        QTest.mouseMove(canvas, place)
        driver.pause(0.3)
        QTest.keyClick(canvas, Qt.Key.Key_K)
        driver.pause(0.3)
    driver.click(dock.lesion.measure)
    for name, file in (("Curve type", "07_kinetics.png"), ("Curve clusters", "08_clusters.png")):
        dock.overlays.choice.setCurrentText(name)
        driver.wait(lambda: not dock.study.jobs.busy, HOUR)
        driver.pause(0.5)
        dock.scroll_area.ensureWidgetVisible(dock.curve)
        driver.picture(file)
    driver.viewer.close()


def main() -> None:
    """Make the pictures with settings and sessions in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images", help="folder for the pictures")
    parser.add_argument("--only", choices=("phantom", "images", "real", "kinetics"), help="make some of the pictures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = os.environ.get("NAPARI_BREASTSEG_DATA")
    if arguments.only in ("real", "kinetics") and not data:
        parser.error("NAPARI_BREASTSEG_DATA must name the folder of real examinations.")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HOME=folder, XDG_CONFIG_HOME=folder, NAPARI_CONFIG=str(Path(folder) / "napari.yaml"))
        os.environ.pop("XDG_DATA_HOME", None)
        if arguments.only in (None, "phantom"):
            tour(arguments.out)
        if arguments.only in (None, "images"):
            images(arguments.out)
        if data and arguments.only in (None, "real"):
            real(arguments.out, Path(data))
        if data and arguments.only in (None, "kinetics"):
            kinetics(arguments.out, Path(data))


if __name__ == "__main__":
    sys.exit(main())
