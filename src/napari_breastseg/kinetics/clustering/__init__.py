"""Clusters of time-intensity curves by a VQ-VAE: the first stage of HCNet, from which its label maps come.

Draw curves of one or more cases, fit a codebook to them, and give every breast voxel of a case its cluster. The paper leaves much open and
prints a loss that collapses; what was decided and measured stands at each place.
"""

from __future__ import annotations

from napari_breastseg.kinetics.clustering.apply import ClusterCurve, ClusterMap, cluster_map, merge_non_enhancing
from napari_breastseg.kinetics.clustering.codebook import Codebook, load_codebook, save_codebook
from napari_breastseg.kinetics.clustering.curves import Curves
from napari_breastseg.kinetics.clustering.fit import FitSettings, FitStatus, fit_clusters
from napari_breastseg.kinetics.clustering.metrics import ClusterMetrics, cluster_metrics, purity, tumour_ratios
from napari_breastseg.kinetics.clustering.starter import starter_codebook
from napari_breastseg.kinetics.clustering.voxels import draw_curves

__all__ = [
    "ClusterCurve",
    "ClusterMap",
    "ClusterMetrics",
    "Codebook",
    "Curves",
    "FitSettings",
    "FitStatus",
    "cluster_map",
    "cluster_metrics",
    "draw_curves",
    "fit_clusters",
    "load_codebook",
    "merge_non_enhancing",
    "purity",
    "save_codebook",
    "starter_codebook",
    "tumour_ratios",
]
