"""HA-Net and BReMS-Net as presets: counts, what they see, their losses, and predictions of images of any size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError
from napari_breastseg.inference import explain, predict
from napari_breastseg.inference.grids import plan_grids
from napari_breastseg.inference.runner import Runner
from napari_breastseg.losses.aw_loss import aw_loss
from napari_breastseg.methods import get_preset, presets
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.brems_net import HEADS, BReMSNet, Sizes
from napari_breastseg.networks.ha_net import HANet
from napari_breastseg.progress import run

COUNTS = {
    "ha-net/unet": 34_513_345, "ha-net/baseline": 10_498_945, "ha-net/conv-block": 11_089_537, "ha-net/sfeb": 15_339_329,
    "ha-net/paper": 15_427_713, "brems-net/paper": 61_890_543,
}  # fmt: skip
NETWORKS: dict[str, Any] = {
    "ha-net/compact": partial(HANet, growth=4, initial=8, widths=(32, 16, 16, 8, 8)),
    "brems-net/compact": partial(BReMSNet, sizes=Sizes("basic", (1, 1, 1, 1), (8, 8, 16, 16), (16, 8, 8, 8), 8)),
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_the_counts(name: str, count: int) -> None:
    preset = get_preset(name)
    assert preset.parameters() == count
    assert preset.figures.get("parameters", count) == count


def test_the_published_multiply_adds_of_ha_net_but_for_norms() -> None:
    """8.01 counts norms and up-sampling, too; torch's counter does not."""
    macs = get_preset("ha-net/paper").macs
    assert macs is not None
    assert sum(macs(256).values()) / 1e9 == pytest.approx(8.01, rel=0.01)


def test_every_preset_for_images_sees_all_of_the_image() -> None:
    for preset in presets().values():
        if preset.method in ("ha-net", "brems-net"):
            assert preset.flat and preset.side == preset.patch[1] == preset.patch[2]


def model_of(name: str, path: Path) -> Model:
    preset = replace(get_preset(name), network=NETWORKS[name])
    torch.manual_seed(0)
    return Model(preset, preset.build().state_dict(), {}, "0" * 64, path / "model.safetensors")


def image_of(name: str, shape: tuple[int, int], scale: float = 1.0) -> Case:
    rng = np.random.default_rng(0)
    h, w = shape
    y, x = np.mgrid[:h, :w]
    bright = ((y / h - 0.5) ** 2 + (x / w) ** 2 < 0.2) * 60.0
    pixels = (20 + bright + rng.normal(0, 5, shape)).astype(np.float32) * scale
    return Case(
        "image", pixels[None, None], Geometry((1.0,) * 3, np.diag([-1.0, -1.0, 1.0, 1.0]), (w, h, 1)), modality=get_preset(name).modality
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(300, 400), (97, 64), (1200, 700)])
def test_images_of_any_size_are_predicted_at_once(name: str, shape: tuple[int, int], tmp_path: Path) -> None:
    shown: list[Any] = []
    prediction = run(predict(image_of(name, shape), model_of(name, tmp_path), device="cpu"), lambda p: shown.append(p.payload))
    assert prediction.probability.shape == prediction.refined.shape == prediction.coarse.shape == (1, *shape)
    assert np.isfinite(prediction.probability).all()
    assert prediction.details["windows"] == 1
    assert [preview.kind for preview in shown if preview is not None] == ["coarse", "refined"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_scale_of_the_grey_values_does_not_matter(name: str, tmp_path: Path) -> None:
    model = model_of(name, tmp_path)
    one, other = (run(predict(image_of(name, (200, 150), scale), model, device="cpu")).probability for scale in (1.0, 250.0))
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_brems_net_shows_its_own_coarse_prediction(tmp_path: Path) -> None:
    name = "brems-net/compact"
    model, case = model_of(name, tmp_path), image_of(name, (512, 400))
    shown: list[Any] = []
    run(predict(case, model, device="cpu"), lambda p: shown.append(p.payload))
    coarse = next(preview for preview in shown if preview is not None and preview.kind == "coarse")
    (grid,), place = plan_grids(case, model.preset)
    (window,) = grid.windows
    expected = (
        grid.to_case(Runner(model, "cpu").first_probability(grid.window(window)[None])[0])
        * place.inside[tuple(slice(*r) for r in grid.box[1:])]
    )
    np.testing.assert_allclose(coarse.probability, expected, atol=1e-5)
    network = model.network()
    with torch.no_grad():
        answers = network.every_answer(network.encode(torch.from_numpy(grid.window(window))[None]))  # type: ignore[operator]
    h, w = grid.shape[1:]
    np.testing.assert_allclose(torch.sigmoid(answers["coarse"])[0, 0, :h, :w], grid_values(model, grid, window), atol=1e-5)


def grid_values(model: Model, grid: Any, window: Any) -> Any:
    return Runner(model, "cpu").first_probability(grid.window(window)[None])[0, 0]


def test_the_loss_of_brems_net_sees_all_heads_at_full_resolution() -> None:
    preset = replace(get_preset("brems-net/compact"), network=NETWORKS["brems-net/compact"])
    torch.manual_seed(0)
    network, images, labels = preset.build().eval(), torch.rand(2, 1, 1, 50, 70), torch.randint(0, 2, (2, 1, 50, 70))
    value, features = preset.loss(network, images, labels)
    assert features.shape == (2, 8, 1, 50, 70)
    answers = network.every_answer(network.encode(images))  # type: ignore[operator]
    torch.testing.assert_close(value, aw_loss([answers[name][..., :50, :70] for name in HEADS], labels))


def test_an_image_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made for mammography, but image is ultrasound"):
        run(predict(image_of("ha-net/compact", (100, 100)), model_of("brems-net/compact", tmp_path), device="cpu"))


@pytest.mark.parametrize(("name", "map_name"), [("ha-net/compact", "sfeb-effect"), ("brems-net/compact", "boundary-attention")])
def test_explaining_adds_the_methods_own_map(name: str, map_name: str, tmp_path: Path) -> None:
    case, model = image_of(name, (200, 150)), model_of(name, tmp_path)
    mask = np.zeros((1, 200, 150), np.uint8)
    mask[:, 80:120, 20:60] = 1
    found = run(explain(case, model, mask, device="cpu")).maps
    assert found[map_name].shape == (1, 200, 150) and found[map_name].dtype == np.float32
    assert np.abs(found[map_name]).max() > 0
    assert {"frloss-similarity", "frloss-boundary", "frloss-negative", "frloss-hardest", map_name} == set(found)


def test_what_sfeb_adds_is_nothing_where_it_is_silent() -> None:
    torch.manual_seed(0)
    network, x = NETWORKS["ha-net/compact"]().eval(), torch.rand(1, 1, 1, 64, 64)
    assert network.own_maps(x)["sfeb-effect"].abs().max() > 0
    for block in network.decoder:
        torch.nn.init.zeros_(block.sfeb.both[1].weight)  # Fc becomes relu(bias), which begins as 0
    assert not network.own_maps(x)["sfeb-effect"].any()
    assert HANet(True, False, False, growth=4, initial=8, widths=(32, 16, 16, 8, 8)).own_maps(x) == {}


def test_the_boundary_attention_is_the_mean_of_the_gates() -> None:
    torch.manual_seed(0)
    network, x = NETWORKS["brems-net/compact"]().eval(), torch.rand(1, 1, 1, 64, 64)
    for block in network.decoder:
        torch.nn.init.zeros_(block.gate.weigh.weight)
        torch.nn.init.zeros_(block.gate.weigh.bias)
    torch.testing.assert_close(network.own_maps(x)["boundary-attention"], torch.full((1, 1, 64, 64), 0.5))
    assert BReMSNet(bfa=False, sizes=Sizes("basic", (1, 1, 1, 1), (8, 8, 16, 16), (16, 8, 8, 8), 8)).own_maps(x) == {}


def test_an_image_file_suits_either_flat_kind_and_no_other(tmp_path: Path) -> None:
    for name in NETWORKS:
        case = replace(image_of(name, (100, 100)), modality="image")
        assert run(predict(case, model_of(name, tmp_path), device="cpu")).refined.shape == (1, 100, 100)
    with pytest.raises(InputError, match="made for dce-mri, but image is an image"):
        plan_grids(case, get_preset("hcma-unet"))
