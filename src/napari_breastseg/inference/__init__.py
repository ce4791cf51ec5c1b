"""Prediction: windows in the breast region, coarse first, refined window by window; and why the model says so."""

from napari_breastseg.inference.devices import pick_device
from napari_breastseg.inference.explain import Explanation, explain
from napari_breastseg.inference.hard_negatives import HardNegative
from napari_breastseg.inference.predict import Preview, predict
from napari_breastseg.inference.refine import refine

__all__ = ["Explanation", "HardNegative", "Preview", "explain", "pick_device", "predict", "refine"]
