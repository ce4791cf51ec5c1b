"""The rows of Tables I to III of HCMA-UNet, and what the paper publishes of them as far as it is known here.

The paper's parameters and GFLOPs stand with the presets. Its Dice, precision, recall, IoU and volumetric similarity are not known here:
whoever has the paper can put them into ``PUBLISHED``, and they appear beside our figures.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import combinations

from napari_breastseg.evaluation.papers.table import PaperTable, Row
from napari_breastseg.losses.frloss import TERMS
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.segmentation import SegmentationNetwork

PUBLISHED: dict[int, dict[str, dict[str, float]]] = {1: {}, 2: {}, 3: {}}
"""By table, key of the row and metric (dice, precision, recall, iou, volumetric_similarity): the paper's value, from 0 to 1."""
VARIANTS = {
    "baseline": "Baseline (convolutions only)",
    "vssb": "+ VSSB",
    "vssb-asc": "+ VSSB + ASC",
    "vssb-asa": "+ VSSB + ASA",
    "paper": "+ VSSB + ASC + ASA (HCMA-UNet)",
    "mamba3d": "Mamba3d instead of MISM",
}
"""Table II, by preset."""
PEERS = {
    "nnunet": ("nnU-Net (MONAI's DynUNet with its plan)", ""),
    "swin_unetr_v2": ("SwinUNETR-V2 (MONAI)", "einops"),
    "mednext": ("MedNeXt (MONAI, S, kernel 3)", ""),
}
"""Networks of Table I that MONAI provides, by builder in ``peers``: label, and the package that MONAI needs besides."""
ELSEWHERE = {"swinhr": "SwinHR", "segformer3d": "SegFormer3D", "u-mamba": "U-Mamba", "lkm-unet": "LKM-UNet", "mambaclinix": "MambaClinix"}
"""Networks of Table I whose code is not here."""


def _networks() -> list[Row]:
    """Table I: each network without FRLoss and with it."""
    rows = []
    for key, (label, package) in PEERS.items():
        found = not package or find_spec(package) is not None
        missing = "" if found else f"needs the package {package}"
        rows.append(Row(key, label, _peer(key, label) if found else None, missing=missing))
    rows += [Row(key, label, None, missing="needs the authors' code") for key, label in ELSEWHERE.items()]
    rows.append(Row("hcma-unet", "HCMA-UNet", get_preset("hcma-unet/paper")))
    both = [(row, replace(row, key=f"{row.key}+frloss", marks=("FRLoss",), terms=TERMS)) for row in rows]
    return [_published(row, 1) for pair in both for row in pair]


def _variants() -> list[Row]:
    """Table II: what stands in the place of the mixer."""
    return [_published(Row(name, label, get_preset(f"hcma-unet/{name}")), 2) for name, label in VARIANTS.items()]


def _losses() -> list[Row]:
    """Table III: every choice of the three terms."""
    preset = get_preset("hcma-unet/paper")
    chosen = [terms for count in range(len(TERMS) + 1) for terms in combinations(TERMS, count)]
    return [_published(Row("+".join(terms) or "none", "HCMA-UNet", preset, terms, terms), 3) for terms in chosen]


def _published(row: Row, table: int) -> Row:
    return replace(row, figures={**(row.preset.figures if row.preset else {}), **PUBLISHED[table].get(row.key, {})})


def _peer(key: str, label: str) -> Preset:
    paper = get_preset("hcma-unet/paper")
    return replace(paper, name=f"peer/{key}", network=partial(_build, key), about=label, figures={})


def _build(key: str) -> SegmentationNetwork:
    from napari_breastseg.evaluation import peers

    network: SegmentationNetwork = getattr(peers, key)()
    return network


_table = partial(
    PaperTable,
    "hcma-unet",
    metrics=("dice", "precision", "recall", "iou", "volumetric_similarity"),
    settings="AdamW with a learning rate of 1e-4, 500 epochs, batches of 2 patches of 128 voxels",
)
TABLES = [
    _table(1, "Table I: networks without FRLoss and with it", "Network", ("FRLoss",), rows=_networks),
    _table(2, "Table II: variants of the network", "Variant", (), rows=_variants),
    _table(3, "Table III: terms of FRLoss", "Network", TERMS, rows=_losses),
]
