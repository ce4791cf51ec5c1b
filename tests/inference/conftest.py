from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg.case import Case, whole
from napari_breastseg.methods import get_preset
from napari_breastseg.preprocess.overview import Overview

Read = Callable[[Case], npt.NDArray[np.float32]]


@pytest.fixture
def read_whole() -> Read:
    """What the practical preset sees of a case, shape (channel, z, y, x), on the case's own grid."""
    return lambda case: get_preset("hcma-unet").inputs(Overview.of(case)).read(whole(case.shape), case.shape)
