"""Colouring the image by its kinetics."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QGroupBox, QVBoxLayout
from superqt import QLabeledSlider

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics import CURVE_COLOURS, SER_BINS, KineticMaps, Thresholds, Timing
from napari_breastseg.kinetics.curves import CURVES
from napari_breastseg.widgets.desk.messages import inform, told
from napari_breastseg.widgets.kinetics.clusters import Clusters, clustering
from napari_breastseg.widgets.kinetics.legend import Legend
from napari_breastseg.widgets.kinetics.overlay_layers import OVERLAYS, Enhancing, cluster_layer, map_layer, mapping, role
from napari_breastseg.widgets.kinetics.plot import CurvePlot, Drawn
from napari_breastseg.widgets.kinetics.study import OWN_ROLE, Study
from napari_breastseg.widgets.parts.section import JobBar, row

NOTHING = "Nothing"
SHOW_FROM = 50
"""PE (%) from which voxels are coloured: 50 is the usual threshold of breast CAD."""
MAPS = f"{OWN_ROLE}-map"
KIND = "kinetics"


class OverlaysPanel(QGroupBox):
    """Chooses by what the image is coloured, and from which enhancement on.

    All maps but the clusters are computed at once and kept until Nothing is chosen, so that a change between them costs nothing.
    """

    def __init__(self, study: Study, plot: CurvePlot) -> None:
        super().__init__("Colour the image by")
        self._study, self._plot = study, plot
        self.maps: KineticMaps | None = None
        self.clusters: Clusters | None = None
        self._again = False
        self._outlined = False
        self.choice = QComboBox()
        self.choice.addItem(NOTHING)
        for key, overlay in OVERLAYS.items():
            self.choice.addItem(overlay.name, key)
        self.choice.setToolTip("Lay a map of the whole examination over it, below the tumour")
        self.show_from = QLabeledSlider(Qt.Orientation.Horizontal)
        self.show_from.setRange(0, 200)
        self.show_from.setValue(SHOW_FROM)
        self.show_from.setToolTip("Colour only what enhances by at least so many percent, at the phase of PE")
        self.bar = JobBar(study, KIND)
        self.legend = Legend()
        self.with_curves = QCheckBox("Curves of the clusters in the plot")
        self.with_curves.setToolTip("Show the mean curve of each cluster, in its colour")
        self.with_curves.setChecked(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 8)
        column.setSpacing(5)
        column.addWidget(self.choice)
        column.addLayout(row("Show from PE (%)", self.show_from, stretch=1))
        for widget in (self.bar, self.legend, self.with_curves):
            column.addWidget(widget)
        choose = told(self._choose)
        self.choice.currentIndexChanged.connect(lambda _: choose())
        self.show_from.valueChanged.connect(self._on_threshold)
        self.with_curves.toggled.connect(lambda _: self._show_curves())
        study.changed.connect(self.forget)
        study.timed.connect(self._on_timing)
        study.looked.connect(self._on_layers)
        study.jobs.ended.connect(self._on_ended)
        self._show_rest()

    @property
    def wanted(self) -> str | None:
        """What the image is to be coloured by, None for nothing."""
        key: str | None = self.choice.currentData()
        return key

    def forget(self) -> None:
        """Colour by nothing, and let the maps go."""
        self.maps = self.clusters = None
        self._again = False
        self._study.remove_own(MAPS)
        self._choose_silently(0)

    def _choose(self) -> None:
        """Show what is wanted, or begin to compute it."""
        jobs = self._study.jobs
        if self.wanted is None:
            if jobs.kind == KIND:
                jobs.cancel()
            self.forget()
            return
        for key in OVERLAYS:
            layer = self._study.own(role(key))
            if layer is not None and key != self.wanted:
                layer.visible = False
        if (self.clusters if self.wanted == "clusters" else self.maps) is not None:
            self._show()
        elif jobs.busy:
            self._again = True
            if jobs.kind == KIND:
                jobs.cancel()
        else:
            self._start()
        self._show_rest()

    def _start(self) -> None:
        study = self._study
        case, timing, limits = study.case, study.timing, study.thresholds
        if case is None or timing is None:
            raise InputError(study.refusal)
        if self.wanted == "clusters":
            study.jobs.start(KIND, "Clustering the curves", lambda: clustering(case, timing), lambda c: self._done(c, case, timing, limits))
        else:
            job = lambda: mapping(case, timing, limits)  # noqa: E731
            study.jobs.start(KIND, "Computing the kinetic maps", job, lambda maps: self._done(maps, case, timing, limits))

    def _done(self, found: KineticMaps | Clusters, case: Case, timing: Timing, limits: Thresholds) -> None:
        study = self._study
        if case is not study.case or timing is not study.timing or limits is not study.thresholds or self.wanted is None:
            return
        if isinstance(found, Clusters):
            self.clusters = found
        else:
            self.maps = found
        if (self.wanted == "clusters") == isinstance(found, Clusters):
            self._show()

    def _on_ended(self, kind: str) -> None:
        QTimer.singleShot(0, self._settle)  # after the result was taken, or the error told

    def _settle(self) -> None:
        """Go on with what was chosen meanwhile; after a cancel or an error there is nothing to show."""
        if self._study.jobs.busy or self._study.case is None or self.wanted is None:
            return
        if self._again:
            self._again = False
            self._choose()
        elif self._study.own(role(self.wanted)) is None:
            self._choose_silently(0)

    def _show(self) -> None:
        case, key, maps = self._study.case, self.wanted, self.maps
        assert case is not None and key is not None
        if key == "clusters":
            assert self.clusters is not None
            layer: Any = cluster_layer(self.clusters, case.geometry)
        else:
            assert maps is not None
            layer = map_layer(key, maps, case.geometry, self.show_from.value())
        if layer is None:
            inform(f"{OVERLAYS[key].name} needs two phases after the injection; there is one.")
            self._choose_silently(0)
            return
        old = self._study.own(role(key))
        if old is None:
            self._study.add(layer)
        else:
            old.data = layer.data
            old.editable, old.visible = False, True
        self._outline(True)
        self._show_rest()

    def _show_rest(self) -> None:
        """Say what the colours mean, and offer what goes with the map."""
        key = self.wanted
        self.show_from.setEnabled(key != "clusters")
        self.with_curves.setVisible(key == "clusters")
        self._show_curves()
        if key is None or self._study.own(role(key)) is None:
            self.legend.show_nothing()
        elif key == "type":
            self.legend.show_words([(CURVE_COLOURS[kind], CURVES[kind]) for kind in range(1, len(CURVES))])
        elif key == "ser":
            self.legend.show_words([(bin_.colour, f"{bin_.low:g}–{bin_.high:g}&nbsp;{bin_.name.split(': ')[1]}") for bin_ in SER_BINS])
        elif key == "clusters" and self.clusters is not None:
            self.legend.show_words([(colour, str(number)) for number, colour in enumerate(self.clusters.colours, 1)])
        else:
            overlay = OVERLAYS[key]
            self.legend.show_range(overlay.colours, overlay.limits, overlay.unit)

    def _show_curves(self) -> None:
        shown = self.clusters if self.wanted == "clusters" and self.with_curves.isChecked() else None
        pairs = [] if shown is None else zip(shown.curves, shown.colours, strict=True)
        self._plot.show_curves("cluster", [Drawn(curve, colour, thin=True) for curve, colour in pairs if curve.voxels])

    def _on_threshold(self, percent: int) -> None:
        for key in OVERLAYS:
            layer = self._study.own(role(key))
            if layer is not None and isinstance(layer.data, Enhancing):
                layer.data.threshold = percent
                layer.refresh(extent=False)

    def _on_timing(self) -> None:
        """Compute anew what is shown."""
        self.maps = self.clusters = None
        if self.wanted is not None:
            told(self._choose)()

    def _on_layers(self) -> None:
        """Notice that the person removed the layer."""
        computed = self.clusters if self.wanted == "clusters" else self.maps
        if self.wanted is not None and computed is not None and self._study.own(role(self.wanted)) is None:
            self.choice.setCurrentIndex(0)

    def _choose_silently(self, place: int) -> None:
        self.choice.blockSignals(True)
        self.choice.setCurrentIndex(place)
        self.choice.blockSignals(False)
        self._outline(self.wanted is not None)
        self._show_rest()

    def _outline(self, wanted: bool) -> None:
        """Draw the tumour as an outline while something is shown below it, unless it is one already."""
        tumour = self._study.tumour()
        if tumour is not None and wanted and not tumour.contour:
            tumour.contour, self._outlined = 1, True
        elif not wanted and self._outlined:
            self._outlined = False
            if tumour is not None and tumour.contour == 1:
                tumour.contour = 0
