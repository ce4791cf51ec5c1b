"""Many cases, one after the other or many at a time, on this computer or on a cluster; what is done is never done again."""

from __future__ import annotations

from napari_breastseg.cohort.predict import Cohort, Row, predict_cohort

__all__ = ["Cohort", "Row", "predict_cohort"]
