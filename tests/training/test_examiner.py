"""What the gate compares, measured on masks that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import BACKGROUND, TUMOUR, UNDECIDED
from napari_breastseg.training import examiner
from napari_breastseg.training.corrections import CorrectedWindow
from napari_breastseg.training.gate import FEW

SHAPE = (4, 8, 8)


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """What the network says of each source, which is a name here."""
    said: dict[str, np.ndarray] = {}
    monkeypatch.setattr(examiner, "probability", lambda source, _: said[source])
    monkeypatch.setattr(examiner, "encoder_of", lambda *_: "the same")
    return said


def window(case: str, labels: np.ndarray, kept_back: bool) -> CorrectedWindow:
    nothing = np.full(SHAPE, UNDECIDED, np.uint8)
    learn, held_out = (nothing, labels) if kept_back else (labels, nothing)
    return CorrectedWindow(case, np.zeros((1, *SHAPE), np.float32), learn, held_out, float(not kept_back), 0, True, kept_back)


def test_a_few_false_voxels_in_a_case_without_tumour_are_none_and_its_slab_is_no_held_out_stroke(masks: dict[str, Any]) -> None:
    healthy, tumour = np.full(SHAPE, BACKGROUND, np.uint8), np.full(SHAPE, BACKGROUND, np.uint8)
    tumour[1, 2:4, 2:6] = TUMOUR
    corrected = [
        ("healthy", window("healthy", healthy, True)),
        ("tumour", window("tumour", tumour, True)),
        ("taught", window("taught", tumour, False)),
    ]
    network: Any = torch.nn.Conv3d(1, 1, 1)
    examined = examiner.Examiner(network, corrected, [], 0.5)
    for false, dice in ((0, 1.0), (FEW, 1.0), (FEW + 1, 0.0)):
        masks.update({name: (tumour == TUMOUR).astype(np.float32) for name in ("tumour", "taught")}, healthy=np.zeros(SHAPE, np.float32))
        masks["tumour"][1, 2, 2:6] = 0  # half of it is missed
        masks["healthy"].ravel()[:false] = 1
        score = examined.score(network.state_dict())
        assert score.cases == {"healthy": dice, "tumour": pytest.approx(2 / 3), "taught": 1.0}
        assert score.healthy == {"healthy"} and score.unseen == {"tumour"} and score.false == false
        assert score.held_out == pytest.approx((0.5 + 1) / 2) and score.corrected == 1.0


@pytest.mark.parametrize(("threshold", "dice"), [(0.5, 0.0), (0.3, 1.0)])
def test_what_is_judged_is_the_mask_that_is_shown(masks: dict[str, Any], threshold: float, dice: float) -> None:
    tumour = np.full(SHAPE, BACKGROUND, np.uint8)
    tumour[1, 2:4, 2:6] = TUMOUR
    network: Any = torch.nn.Conv3d(1, 1, 1)
    examined = examiner.Examiner(network, [("unsure", window("unsure", tumour, False))], [], threshold)  # type: ignore[list-item]
    masks["unsure"] = np.where(tumour == TUMOUR, 0.4, 0.1).astype(np.float32)
    assert examined.score(network.state_dict()).cases == {"unsure": dice}
