"""Prediction: windows in the breast region, coarse first, refined window by window."""

from napari_breastseg.inference.devices import pick_device
from napari_breastseg.inference.predict import Preview, predict

__all__ = ["Preview", "pick_device", "predict"]
