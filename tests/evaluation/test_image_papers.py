"""The tables of HA-Net and BReMS-Net: rows, counts, healthy images by themselves, tests between two rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import wilcoxon

from napari_breastseg.evaluation import reproduce as module
from napari_breastseg.evaluation.papers import paper_table
from napari_breastseg.evaluation.reproduce import Reproduction, reproduce
from napari_breastseg.evaluation.splits import SplitPlan
from napari_breastseg.evaluation.tables import markdown
from napari_breastseg.io.cohort import find_cases
from napari_breastseg.progress import run


def test_the_rows_of_table_3_have_the_published_counts() -> None:
    rows = paper_table("ha-net", 3).with_windows(128)
    counts = {row.key: row.preset.parameters() for row in rows if row.preset}
    assert counts == {"unet": 34_513_345, "baseline": 10_498_945, "conv-block": 11_089_537, "sfeb": 15_339_329, "paper": 15_427_713}
    for row in rows:
        assert row.preset is not None
        assert (row.preset.patch, row.preset.side) == ((1, 128, 128), 128)
        assert row.figures["parameters_millions"] == counts[row.key] / 1e6


def test_tables_4_and_5_compare_with_unets() -> None:
    for number, dice in ((4, 0.9728), (5, 0.9238)):
        rows = {row.key: row for row in paper_table("ha-net", number).with_windows(64)}
        assert list(rows) == ["unet", "attention-unet", "paper"]
        assert rows["paper"].figures["dice"] == dice
    attention = rows["attention-unet"].preset
    assert attention is not None
    with torch.no_grad():
        assert attention.build()(torch.rand(1, 1, 1, 50, 64)).shape == (1, 2, 1, 50, 64)


def test_the_tables_of_brems_net_ablate_its_parts_and_compare_with_unets() -> None:
    rows = {row.key: row for row in paper_table("brems-net", 3).with_windows(64)}
    counts = {key: row.preset.parameters() for key, row in rows.items() if row.preset}
    assert counts == {"baseline": 44_071_044, "mhd": 60_468_068, "bfa": 45_456_452, "mba": 61_853_476, "paper": 61_890_543}
    assert [rows[key].marks for key in rows] == [(), ("MHD",), ("BFA",), ("MHD", "BFA"), ("MHD", "BFA", "PRM")]
    rows = {row.key: row for row in paper_table("brems-net", 2).with_windows(64)}
    assert list(rows) == ["unet", "attention-unet", "baseline", "mba", "paper"]
    ours = rows["paper"].preset
    for key in ("unet", "attention-unet"):  # seen and judged like ours, but without its heads, phantoms and encoder
        peer = rows[key].preset
        assert peer is not None and ours is not None
        assert (peer.inputs, peer.side, peer.encoder) == (ours.inputs, ours.side, "")
        image, labels = torch.rand(2, 1, 1, 32, 40), torch.randint(2, (2, 1, 32, 40))
        loss, _ = peer.loss(peer.build(), image, labels)
        assert torch.isfinite(loss)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images with a bright lesion of its own size, and four healthy ones, in folders."""
    rng = np.random.default_rng(0)
    for group, count in (("benign", 12), ("normal", 4)):
        for kind in ("images", "masks"):
            (tmp_path / group / kind).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((40, 50), np.uint8)
            if group == "benign":
                mask[10 : 20 + number, 10:30] = 1
            image = np.clip(rng.normal(60, 20, mask.shape) + 80 * mask, 0, 255).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / group / "images" / f"{group}{number}.png")
            Image.fromarray(mask * 255).save(tmp_path / group / "masks" / f"{group}{number}.png")
    return tmp_path


def test_healthy_images_and_differences_between_rows_are_told(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With thresholds in place of networks: of the rows one marks too much, so that every healthy image is a false alarm."""
    cuts = {"unet": 60.0, "paper": 100.0}

    encoder = tmp_path / "densenet121.safetensors"
    encoder.write_bytes(b"weights")
    began = {}

    def train(preset: Any, config: Any, out: Path, labelled: Any, device: str, prepared: Path, encoder: Path | None) -> Any:
        assert config.balanced
        began[preset.name] = encoder
        out.mkdir(parents=True, exist_ok=True)
        return {"cut": torch.tensor([cuts.get(preset.name.split("/")[1], 90.0)])}
        yield

    def predict(case: Any, model: Any, *, device: str) -> Any:
        mask = (case.phase(0) > float(model.weights["cut"])).astype(np.uint8)
        return type("P", (), {"refined": mask})()
        yield

    monkeypatch.setattr(module, "train_weights", train)
    monkeypatch.setattr(module, "predict", predict)
    cases = find_cases(images)
    table = tmp_path / "folds.csv"
    table.write_text("id,fold\n" + "".join(f"{case.name},{index % 3}\n" for index, case in enumerate(cases)))
    settings = Reproduction("ha-net", 3, patch=64, balanced=True, split=SplitPlan(table=str(table)), encoder=encoder)
    report = run(reproduce(cases, settings, tmp_path / "out"))
    assert began.pop("ha-net/unet") is None  # it has no such encoder
    assert set(began.values()) == {encoder} and len(began) == 4
    rows = {row["key"]: row for row in report["rows"]}
    for row in rows.values():
        assert (row["patients"], row["healthy"]) == (12, 4)
    assert rows["unet"]["false_alarms"]["mean"] == 1.0
    own = {(case["row"], case["case"]): case["dice"] for case in report["cases"]}
    names = [case.name for case in cases if case.group == "benign"]
    each = [own["unet", name] - own["paper", name] for name in names]
    found = rows["unet"]["difference"]["dice"]
    assert found["mean"] == pytest.approx(np.mean(each)) and found["mean"] < 0
    assert found["wilcoxon_p"] == pytest.approx(wilcoxon(each).pvalue) and found["patients"] == 12
    assert "difference" not in rows["paper"]
    text = markdown(report)
    for said in (
        "HD95, pixels",
        "False alarms",
        "Dice against paper",
        "4 cases without tumour are in no other figure",
        "table of folds",
        "began from ImageNet weights",
    ):
        assert said in text
