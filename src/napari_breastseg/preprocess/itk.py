"""What SimpleITK does for the alignment of phases: a rigid registration, and one resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from napari_breastseg.preprocess.blocks import Breast, Points
from napari_breastseg.preprocess.resample import Volume

LEVELS = (6.0, 3.0)
"""Voxels (mm) of the levels on which the rigid displacement is sought."""
BINS, ITERATIONS = 48, 60
SKIN = 4.0
"""mm around the breast that the rigid registration sees, too: the skin is its best edge."""


@dataclass(frozen=True)
class Rigid:
    """A rotation about a centre and a translation.

    Attributes
    ----------
    matrix : ndarray, shape (3, 3)
        Acts on (z, y, x).
    centre, translation : ndarray, shape (3,)
        mm.
    degrees : float
        Angle of the rotation.
    """

    matrix: Points
    centre: Points
    translation: Points

    @property
    def degrees(self) -> float:
        """Angle of the rotation."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.matrix) - 1) / 2, -1, 1))))

    def at(self, places: Points) -> Points:
        """Return the displacement at each place, shape (..., 3)."""
        moved: Points = (places - self.centre) @ self.matrix.T + self.centre + self.translation - places
        return moved


def register_rigidly(breast: Breast, moving: Volume) -> Rigid:
    """Find the rotation and translation that maximise Mattes' mutual information, on two levels from coarse to fine.

    On one thread, since a sum over several depends on their number in its last digits.

    Parameters
    ----------
    breast : Breast
    moving : ndarray, shape (z, y, x)
        The other phase on the grid of `breast`.
    """
    typical = float(np.cbrt(breast.cell.prod()))
    mask = ndimage.distance_transform_edt(~breast.mask, sampling=breast.cell) <= SKIN
    images = [_image(breast, volume) for volume in (breast.image, moving, mask.astype(np.uint8))]
    centre = breast.corner + np.argwhere(breast.mask).mean(0) * breast.cell
    start = sitk.Euler3DTransform()
    start.SetCenter(centre[::-1].tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(images[2])
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([max(1, round(level / typical)) for level in LEVELS])
    method.SetSmoothingSigmasPerLevel([level / 2 for level in LEVELS])
    method.SetInitialTransform(start, True)
    try:
        method.Execute(*images[:2])
    except RuntimeError:  # hardly anything of the breast is within the other phase: the blocks start from where it is
        start.SetIdentity()
    matrix, shift = np.array(start.GetMatrix()).reshape(3, 3), np.array(start.GetTranslation())
    return Rigid(matrix[::-1, ::-1], centre, shift[::-1])


def _image(breast: Breast, volume: npt.NDArray[np.generic]) -> sitk.Image:
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing(breast.cell[::-1].tolist())
    image.SetOrigin(breast.corner[::-1].tolist())
    return image


def warp(volume: Volume, spacing: Sequence[float], field: Points) -> Volume:
    """Resample a phase by cubic B-splines where the displacement on nodes leads, within the range of its values.

    Parameters
    ----------
    volume : ndarray, shape (z, y, x)
    spacing : sequence of float
        mm (z, y, x).
    field : ndarray, shape (z, y, x, 3)
        As :func:`joined` returns it.
    """
    image, nodes = sitk.GetImageFromArray(volume), sitk.GetImageFromArray(np.ascontiguousarray(field[..., ::-1]), isVector=True)
    image.SetSpacing([float(s) for s in reversed(spacing)])
    nodes.SetSpacing([(n - 1) * s / (m - 1) for n, s, m in zip(image.GetSize(), image.GetSpacing(), nodes.GetSize(), strict=True)])
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(image)
    resampler.SetInterpolator(sitk.sitkBSpline3)
    resampler.SetTransform(sitk.DisplacementFieldTransform(nodes))
    resampler.UseNearestNeighborExtrapolatorOn()
    warped: Volume = sitk.GetArrayFromImage(resampler.Execute(image))
    return np.clip(warped, volume.min(), volume.max(), out=warped)
