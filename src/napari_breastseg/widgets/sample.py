"""File > Open Sample > napari-breastseg."""

from __future__ import annotations

from napari.types import LayerDataTuple

from napari_breastseg.phantom import make_phantom
from napari_breastseg.widgets.desk.jobs import while_responsive
from napari_breastseg.widgets.view.layers import case_layers

SEED, DIAMETER = 67, 24.0


def dce_mri_phantom() -> list[LayerDataTuple]:
    """Make a synthetic DCE-MRI examination with one tumour of about 24 mm; its truth is kept in the image layer's metadata."""
    phantom = while_responsive("Making the phantom", lambda: make_phantom(SEED, lesions=1, diameter=DIAMETER))
    layers = case_layers(phantom.case)
    layers[0][1]["metadata"]["breastseg_truth"] = phantom.tumour
    return layers
