"""The rows of Table 1 of HCNet and of its ablation of K, and what the paper publishes of them as far as it is known here.

Its cohort is private in part, so its figures can be approached but not reproduced. Of the ablation no figures are known here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from napari_breastseg.evaluation.papers.table import PaperTable, Row
from napari_breastseg.methods import get_preset
from napari_breastseg.networks.hcnet import HCNet

CLUSTERS = (4, 6, 8, 10, 12)
"""K of the ablation: ours, around the published 10."""
METRICS = ("dice", "precision", "recall", "asd")


def _comparison() -> list[Row]:
    """Table 1."""
    rows = {
        "resunet": ("ResUNet, before contrast", {"dice": 0.4629, "precision": 0.5813, "recall": 0.5232, "asd": 39.0}),
        "paper": ("HCNet, before contrast", {"dice": 0.6070, "precision": 0.7005, "recall": 0.7101, "asd": 2.29}),
        "resunet-post": ("ResUNet, before and after contrast", {"dice": 0.6372}),
    }
    return [Row(name, label, get_preset(f"hcnet/{name}"), figures=figures) for name, (label, figures) in rows.items()]


def _clusters() -> list[Row]:
    """Ablation of K."""
    paper = get_preset("hcnet/paper")
    presets = {count: replace(paper, name=f"hcnet/k-{count}", network=partial(HCNet, labels=count + 1)) for count in CLUSTERS}
    return [Row(f"k-{count}", f"HCNet, {count} clusters", preset) for count, preset in presets.items()]


_table = partial(
    PaperTable,
    "hcnet",
    marks=(),
    metrics=METRICS,
    settings="a learning rate of 5e-3 and 300 epochs for the segmentation, 1e-3 and 1,000 epochs for the prediction of the clusters",
)
TABLES = [
    _table(1, "Table 1: segmentation before contrast", "Network", rows=_comparison),
    _table(2, "Ablation of K, the number of clusters", "Network", rows=_clusters),
]
