"""The rows of Tables 2 and 3 of BReMS-Net, and what the paper publishes of them as far as it is known here.

The published Dice, sensitivity and specificity cannot all be of the same images: docs/methods/brems_net.md shows it. They are printed for
comparison, and nothing here aims at them; the order of the ablation's rows is what can be expected.
"""

from __future__ import annotations

from functools import partial

from napari_breastseg.evaluation.papers.table import PaperTable, Row, peer
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.preset import cross_entropy_and_dice
from napari_breastseg.networks.unet import UNet

PARTS = ("MHD", "BFA", "PRM")
ABLATION = {"baseline": (), "mhd": ("MHD",), "bfa": ("BFA",), "mba": ("MHD", "BFA"), "paper": PARTS}
CBIS = {"dice": 0.9312, "recall": 0.9140, "specificity": 0.9085}


def _row(name: str, label: str, marks: tuple[str, ...] = ()) -> Row:
    return Row(name, label, get_preset(f"brems-net/{name}"), marks, figures=CBIS if name == "paper" else {})


def _comparison() -> list[Row]:
    """Table 2: with the U-Nets that are here."""
    from napari_breastseg.evaluation.peers import FlatAttentionUNet

    ours = get_preset("brems-net/paper")
    unets = [
        Row("unet", "U-Net", peer(ours, "unet", UNet, cross_entropy_and_dice)),
        Row("attention-unet", "Attention U-Net (MONAI)", peer(ours, "attention-unet", FlatAttentionUNet, cross_entropy_and_dice)),
    ]
    return [*unets, _row("baseline", "ResNet-50 and a decoder"), _row("mba", "MBA-Net"), _row("paper", "BReMS-Net")]


def _ablation() -> list[Row]:
    """Table 3."""
    return [_row(name, "BReMS-Net" if name == "paper" else "ResNet-50", marks) for name, marks in ABLATION.items()]


_table = partial(
    PaperTable,
    "brems-net",
    metrics=("dice", "recall", "specificity", "precision", "accuracy", "iou", "hd95", "asd"),
    settings="Adam with a learning rate of 1e-4, batches of 8, 100 epochs, an encoder trained on ImageNet, CBIS-DDSM split at random",
    reference="paper",
)
TABLES = [
    _table(2, "Table 2: comparison on CBIS-DDSM", "Network", (), rows=_comparison),
    _table(3, "Table 3: parts of BReMS-Net", "Network", PARTS, rows=_ablation),
]
