"""File > Open Sample > napari-breastseg."""

from __future__ import annotations

from napari.types import LayerDataTuple

from napari_breastseg.phantom import make_phantom
from napari_breastseg.widgets._jobs import while_responsive
from napari_breastseg.widgets._layers import case_layers

SEED = 7


def dce_mri_phantom() -> list[LayerDataTuple]:
    """Make a synthetic DCE-MRI examination with a tumour; its truth is kept in the image layer's metadata."""
    phantom = while_responsive("Making the phantom", lambda: make_phantom(SEED, lesions=1))
    layers = case_layers(phantom.case)
    layers[0][1]["metadata"]["breastseg_truth"] = phantom.tumour
    return layers
