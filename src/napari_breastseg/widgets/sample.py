"""File > Open Sample > napari-breastseg."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from napari.types import LayerDataTuple

from napari_breastseg.case import Case
from napari_breastseg.phantom import make_phantom
from napari_breastseg.phantom.mammogram import make_mammogram
from napari_breastseg.phantom.ultrasound import make_ultrasound
from napari_breastseg.widgets.desk.jobs import while_responsive
from napari_breastseg.widgets.view.layers import case_layers

SEED, DIAMETER = 67, 24.0
ULTRASOUND, MAMMOGRAM = 2, 3
"""Seeds of the images."""
TRUTH = "breastseg_truth"


def dce_mri_phantom() -> list[LayerDataTuple]:
    """Make a synthetic DCE-MRI examination with one tumour of about 24 mm; its truth is kept in the image layer's metadata."""

    def make() -> tuple[Case, npt.NDArray[np.uint8]]:
        phantom = make_phantom(SEED, lesions=1, diameter=DIAMETER)
        return phantom.case, phantom.tumour

    return _layers(make)


def ultrasound_phantom() -> list[LayerDataTuple]:
    """Make a synthetic ultrasound image with one mass; its truth is kept in the image layer's metadata."""

    def make() -> tuple[Case, npt.NDArray[np.uint8]]:
        phantom = make_ultrasound(ULTRASOUND, masses=1)
        return phantom.case, phantom.mask

    return _layers(make)


def mammogram_phantom() -> list[LayerDataTuple]:
    """Make a synthetic mammogram with one mass; its truth is kept in the image layer's metadata."""

    def make() -> tuple[Case, npt.NDArray[np.uint8]]:
        phantom = make_mammogram(MAMMOGRAM, masses=1)
        return phantom.case, phantom.mask

    return _layers(make)


def _layers(make: Callable[[], tuple[Case, npt.NDArray[np.uint8]]]) -> list[LayerDataTuple]:
    case, truth = while_responsive("Making the phantom", make)
    layers = case_layers(case)
    layers[0][1]["metadata"][TRUTH] = truth
    return layers
