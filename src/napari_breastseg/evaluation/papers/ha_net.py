"""The rows of Tables 3 to 5 of HA-Net, and what the paper publishes of them as far as it is known here.

The published Dice on BUSI is that of images which are also in the training set: docs/methods/ha_net.md says how that was found, and how to
see it for oneself. It is printed for comparison, and nothing here aims at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from napari_breastseg.evaluation.papers.table import PaperTable, Row, peer
from napari_breastseg.methods import get_preset

PARTS = ("ConvBlock", "SFEB", "TAM")
BUSI, UDIAT = {"dice": 0.9728}, {"dice": 0.9238}


def _row(name: str, label: str, marks: tuple[str, ...] = (), figures: Mapping[str, float] | None = None) -> Row:
    preset = get_preset(f"ha-net/{name}")
    return Row(name, label, preset, marks, figures={"parameters_millions": preset.figures["parameters"] / 1e6, **(figures or {})})


def _ablation() -> list[Row]:
    """Table 3."""
    rows = [_row("unet", "U-Net")]
    rows += [_row(name, "HA-Net", PARTS[:count]) for count, name in enumerate(("baseline", "conv-block", "sfeb"))]
    return [*rows, _row("paper", "HA-Net", PARTS, BUSI)]


def _comparison(figures: dict[str, float]) -> list[Row]:
    """Tables 4 and 5: with the networks of theirs that are here."""
    from napari_breastseg.evaluation.peers import FlatAttentionUNet

    ours = get_preset("ha-net/paper")
    attention = peer(ours, "attention-unet", FlatAttentionUNet, ours.loss)
    return [_row("unet", "U-Net"), Row("attention-unet", "Attention U-Net (MONAI)", attention), _row("paper", "HA-Net", figures=figures)]


_table = partial(
    PaperTable,
    "ha-net",
    metrics=("dice", "iou", "recall", "specificity", "precision", "accuracy", "hd95", "asd"),
    settings="Adam with a learning rate of 1e-3, batches of 10, an encoder trained on ImageNet",
    reference="paper",
)
TABLES = [
    _table(3, "Table 3: parts of HA-Net", "Network", PARTS, rows=_ablation),
    _table(4, "Table 4: comparison on BUSI", "Network", (), rows=partial(_comparison, BUSI)),
    _table(5, "Table 5: comparison on UDIAT", "Network", (), rows=partial(_comparison, UDIAT)),
]
