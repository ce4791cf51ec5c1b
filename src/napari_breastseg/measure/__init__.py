"""How much tumour a mask shows: mL, or area of an image, and longest diameters."""

from __future__ import annotations

from napari_breastseg.measure.tumour import amount, longest_diameter, tumour_figures

__all__ = ["amount", "longest_diameter", "tumour_figures"]
