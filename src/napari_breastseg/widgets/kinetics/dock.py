"""The dock "Breast kinetics"."""

from __future__ import annotations

from pathlib import Path

import napari
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_breastseg.errors import InputError
from napari_breastseg.widgets.desk.messages import inform, plain
from napari_breastseg.widgets.kinetics.background import BackgroundPanel
from napari_breastseg.widgets.kinetics.cursor import CursorCurve
from napari_breastseg.widgets.kinetics.curve import CurvePanel
from napari_breastseg.widgets.kinetics.export import export
from napari_breastseg.widgets.kinetics.lesion import LesionWatch
from napari_breastseg.widgets.kinetics.overlays import OverlaysPanel
from napari_breastseg.widgets.kinetics.pins import PinsPanel
from napari_breastseg.widgets.kinetics.settings import SettingsPanel
from napari_breastseg.widgets.kinetics.study import Study
from napari_breastseg.widgets.kinetics.volume import LesionPanel
from napari_breastseg.widgets.parts.docked import Docked
from napari_breastseg.widgets.parts.section import button, text


class KineticsWidget(Docked):
    """Follows the examination in the viewer: the curve under the mouse and of the lesion, pins, maps.

    It works beside the dock "Breast segmentation" or alone. Closing it takes its layers and its key back.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari when the dock is opened from its menus.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.study = Study(napari_viewer)
        self.under_mouse = CursorCurve(self.study)
        self.lesion_watch = LesionWatch(self.study)
        self.hint = text("")
        self.curve = CurvePanel(self.study, self.under_mouse, self.lesion_watch)
        self.pins = PinsPanel(self.study, self.under_mouse, self.curve.plot)
        self.lesion = LesionPanel(self.study, self.lesion_watch)
        self.background = BackgroundPanel(self.study, self.lesion_watch)
        self.overlays = OverlaysPanel(self.study, self.curve.plot)
        self.settings = SettingsPanel(self.study)
        self.export = button("Export ...", "Write the curves, the figures and the plot into a new folder", self._export)
        self.exported = text("")
        self._panels: tuple[QWidget, ...] = (
            self.curve, self.pins, self.lesion, self.background, self.overlays, self.settings, self.export, self.exported,
        )  # fmt: skip
        self.fill(self.hint, *self._panels)
        self.scroll_area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.study.changed.connect(self._on_case)
        self._on_case()
        self.study.look()

    def leave(self, window_closes: bool) -> None:
        """Stop what runs, give the key back and take the layers away, which a window that closes does itself."""
        self.under_mouse.close()
        self.lesion_watch.close()
        self.curve.leave()
        self.pins.leave()
        if not window_closes:
            self.overlays.forget()
            self.study.remove_own()
        self.study.close()

    def _on_case(self) -> None:
        measurable = self.study.timing is not None
        self.hint.setText(plain(self.study.refusal))
        self.hint.setVisible(not measurable)
        self.exported.setText("")
        for panel in self._panels:
            panel.setVisible(measurable)

    def _export(self) -> None:
        study, ftv = self.study, self.lesion.ftv
        if study.case is None or study.timing is None:
            raise InputError(study.refusal)
        folder = QFileDialog.getExistingDirectory(self, "Folder for the export (a new folder is made in it)")
        if not folder:
            return
        probes = {} if self.under_mouse.probe is None else {"cursor": self.under_mouse.probe}
        names = {"cursor": "cursor", "lesion": "lesion"} | {f"pin{i}": f"pin {pin.number}" for i, pin in enumerate(self.pins.pins)}
        made = export(
            Path(folder),
            study.case,
            study.timing,
            study.thresholds,
            probes | {f"pin {pin.number}": pin.probe for pin in self.pins.pins},
            self.lesion_watch.kinetics,
            None if ftv is None else (ftv, self.lesion.measured_in),
            self.background.percent,
            self.curve.plot.picture(names),
        )
        self.exported.setText(f"Written to {plain(str(made))}.")
        inform(f"The kinetics were written to {made}.")
