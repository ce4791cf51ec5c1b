"""The layers that colour the image by its kinetics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, CyclicLabelColormap, ensure_colormap

from napari_breastseg.case import Case, Geometry
from napari_breastseg.kinetics import CURVE_COLOURS, SER_BINS, KineticMaps, Thresholds, Timing, kinetic_maps
from napari_breastseg.kinetics.curves import CURVES
from napari_breastseg.progress import Job
from napari_breastseg.widgets.kinetics.clusters import Clusters
from napari_breastseg.widgets.kinetics.study import OWN_ROLE
from napari_breastseg.widgets.view.layers import GEOMETRY, ROLE, space

SER_COLOURS = Colormap(
    [bin_.colour for bin_ in SER_BINS],
    controls=[0.0, *(bin_.high / SER_BINS[-1].high for bin_ in SER_BINS)],
    interpolation="zero",
    name="SER bins",
)
WASH_OUT_COLOURS = Colormap(["#ff2020", "#ffffff", "#3060ff"], name="wash-out")
"""Red where the signal falls and blue where it rises, as the curve types."""


@dataclass(frozen=True)
class Overlay:
    """How a measure is shown: its layer's name, unit, colours and the values between which they run."""

    name: str
    unit: str = ""
    colours: Any = None
    limits: tuple[float, float] = (0.0, 1.0)


OVERLAYS = {
    "pe": Overlay("Percent enhancement", "%", ensure_colormap("plasma"), (0.0, 200.0)),
    "ser": Overlay("Signal enhancement ratio", "", SER_COLOURS, (0.0, SER_BINS[-1].high)),
    "wash_in": Overlay("Wash-in", "%/min", ensure_colormap("viridis"), (0.0, 150.0)),
    "wash_out": Overlay("Wash-out", "%/min", WASH_OUT_COLOURS, (-15.0, 15.0)),
    "type": Overlay("Curve type"),
    "clusters": Overlay("Curve clusters"),
}


class Enhancing:
    """A map of shape (z, y, x) where PE reaches a threshold, which may change, and nothing elsewhere; computed where it is looked at.

    Parameters
    ----------
    values, pe : ndarray
        Fractions are shown as float32, NaN (clear) where nothing is; labels as they are, 0 where nothing is.
    threshold : float
        %.
    """

    ndim = 3

    def __init__(self, values: npt.NDArray[Any], pe: npt.NDArray[Any], threshold: float) -> None:
        self._values, self._pe = values, pe
        self.threshold = threshold
        self.shape, self.size = values.shape, values.size
        self.dtype = np.dtype(np.float32) if values.dtype.kind == "f" else values.dtype

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        nothing = self.dtype.type(np.nan if self.dtype.kind == "f" else 0)
        return np.where(self._pe[index] >= self.threshold, self._values[index].astype(self.dtype), nothing)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


def mapping(case: Case, timing: Timing, thresholds: Thresholds) -> Job[KineticMaps]:
    """Compute the maps; SER of 0 and beyond the last bin, which has no colour, becomes NaN."""
    maps = yield from kinetic_maps(case, timing, thresholds=thresholds)
    if maps.ser is None:
        return maps
    coloured = (maps.ser > 0) & (maps.ser <= SER_BINS[-1].high)
    return replace(maps, ser=np.where(coloured, maps.ser, np.float16(np.nan)))


def role(key: str) -> str:
    """Return the role of an overlay's layer."""
    return f"{OWN_ROLE}-map-{key}"


def map_layer(key: str, maps: KineticMaps, geometry: Geometry, threshold: float) -> Layer | None:
    """Return the layer of a map from a PE (%) on, None if the case has too few phases for it."""
    overlay, values = OVERLAYS[key], getattr(maps, key)
    if values is None:
        return None
    if key == "type":
        layer = _labels(key, Enhancing(values, maps.pe, threshold), [CURVE_COLOURS[k] for k in range(1, len(CURVES))], geometry)
        layer.features = {"index": range(len(CURVES)), "curve": CURVES}
        return layer
    layer = Image(
        Enhancing(values, maps.pe, threshold),
        name=overlay.name,
        colormap=overlay.colours,
        contrast_limits=overlay.limits,
        blending="translucent",
        opacity=0.6,
        cache=False,
        metadata={ROLE: role(key), GEOMETRY: geometry},
        **space(geometry),
    )
    layer.editable = False
    return layer


def cluster_layer(clusters: Clusters, geometry: Geometry) -> Labels:
    """Return the layer of the clusters."""
    return _labels("clusters", clusters.labels, clusters.colours, geometry)


def _labels(key: str, values: Any, colours: list[str], geometry: Geometry) -> Labels:
    layer = Labels(
        values,
        name=OVERLAYS[key].name,
        opacity=0.6,
        colormap=CyclicLabelColormap(colors=["transparent", *colours]),  # a direct one would be compiled first, for seconds
        cache=False,
        metadata={ROLE: role(key), GEOMETRY: geometry},
        **space(geometry),
    )
    layer.editable = False
    return layer
