"""The rows of Tables 1, 3 and 4 of TSESNet, and what the paper publishes of them on BTS, as far as it is known here.

Table 1 compares TSESNet with other networks, of which nnU-Net's is here. Table 3 adds one part after the other; that its rows are meant to
build on each other is our reading. Table 4 fuses the phases in other ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from napari_breastseg.evaluation.papers.table import PaperTable, Row
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.preset import Preset, cross_entropy_and_dice
from napari_breastseg.methods.tsesnet import temporal_spatial_loss
from napari_breastseg.networks.tsesnet import TSESNet
from napari_breastseg.preprocess.intensity import post_contrast

FULL = {"dice": 0.7895, "hd95": 6.14, "recall": 0.7913}
BTS: Mapping[str, float] = {
    "backbone": 0.6341, "backbone+ta": 0.7014, "backbone+ta+tsc": 0.7151, "mean-pool": 0.6631, "cnn": 0.6317, "bottleneck": 0.7243,
}  # fmt: skip
"""Dice of the other rows."""


def _comparison() -> list[Row]:
    """Table 1."""
    from napari_breastseg.evaluation.peers import nnunet

    full = get_preset("tsesnet/paper")
    single = replace(
        full, name="peer/nnunet-post", network=nnunet, inputs=post_contrast, channels=1, loss=cross_entropy_and_dice, figures={},
        about="nnU-Net's network on the first post-contrast phase",
    )  # fmt: skip
    return [
        Row("nnunet", "nnU-Net (MONAI's DynUNet), first post-contrast phase", single),
        Row("paper", "TSESNet", full, figures={**full.figures, **FULL}),
    ]


def _ablation() -> list[Row]:
    """Table 3: attention to scales (TA), the contrastive loss (TSC), fusion by attention (TSFF)."""
    plain = partial(temporal_spatial_loss, contrast=0.0)
    full = get_preset("tsesnet/paper")

    def row(key: str, marks: tuple[str, ...]) -> Row:
        fusion = {"shared": False} if "TSFF" in marks else {"fusion": "mean"}
        network = partial(TSESNet, ta="full" if "TA" in marks else "none", **fusion)
        preset: Preset = replace(full, name=f"tsesnet/{key}", network=network, loss=temporal_spatial_loss if "TSC" in marks else plain)
        return Row(key, "TSESNet", preset, marks, figures=FULL if len(marks) == 3 else {"dice": BTS[key]})

    parts = ("TA", "TSC", "TSFF")
    return [row("+".join(["backbone", *map(str.lower, parts[:count])]), parts[:count]) for count in range(4)]


def _fusion() -> list[Row]:
    """Table 4."""
    labels = {
        "mean-pool": "Mean of the phases",
        "cnn": "Convolution of the phases",
        "bottleneck": "TSFF at the deepest level",
        "paper": "TSFF at every level",
    }
    rows = [Row(name, label, get_preset(f"tsesnet/{name}")) for name, label in labels.items()]
    return [
        replace(row, figures={**(row.preset.figures if row.preset else {}), **(FULL if row.key == "paper" else {"dice": BTS[row.key]})})
        for row in rows
    ]


_table = partial(
    PaperTable,
    "tsesnet",
    metrics=("dice", "hd95", "recall"),
    settings="Adam with a learning rate of 1e-4, 300 epochs, patches of 96 x 96 x 48 voxels on four GPUs; on BTS",
)
TABLES = [
    _table(1, "Table 1: comparison on BTS", "Network", (), rows=_comparison),
    _table(3, "Table 3: parts of TSESNet", "Network", ("TA", "TSC", "TSFF"), rows=_ablation),
    _table(4, "Table 4: fusion of the phases", "Fusion", (), rows=_fusion),
]
