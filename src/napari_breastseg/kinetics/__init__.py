"""Contrast kinetics of a case: when its phases were taken, what curves say, maps, functional tumour volume, lesions, background."""

from __future__ import annotations

from napari_breastseg.kinetics.background import background_enhancement
from napari_breastseg.kinetics.colours import CURVE_COLOURS, SER_BINS, SerBin
from napari_breastseg.kinetics.curves import CurveSummary, Thresholds, describe
from napari_breastseg.kinetics.ftv import Ftv, FtvSettings, functional_tumour_volume
from napari_breastseg.kinetics.lesion import Curve, LesionKinetics, WorstCurve, lesion_curve, lesion_kinetics, neighbourhood_curve
from napari_breastseg.kinetics.maps import KineticMaps, kinetic_maps
from napari_breastseg.kinetics.timing import Timing, timing_from, timing_of

__all__ = [
    "CURVE_COLOURS",
    "SER_BINS",
    "Curve",
    "CurveSummary",
    "Ftv",
    "FtvSettings",
    "KineticMaps",
    "LesionKinetics",
    "SerBin",
    "Thresholds",
    "Timing",
    "WorstCurve",
    "background_enhancement",
    "describe",
    "functional_tumour_volume",
    "kinetic_maps",
    "lesion_curve",
    "lesion_kinetics",
    "neighbourhood_curve",
    "timing_from",
    "timing_of",
]
