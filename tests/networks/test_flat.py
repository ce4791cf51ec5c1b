"""HCMA-UNet on images of one slice."""

from __future__ import annotations

import pytest
import torch

from napari_breastseg.inference.engines import openvino_network
from napari_breastseg.losses.overlap import partial_ce_dice
from napari_breastseg.methods import get_preset
from napari_breastseg.networks.hcma_unet import HCMAUNet


def test_kernels_are_one_slice_deep_and_all_else_is_as_published() -> None:
    with torch.device("meta"):
        flat, full = (dict(HCMAUNet(mixer="vssb+asc", flat=flat).named_parameters()) for flat in (True, False))
    assert flat.keys() == full.keys()
    for name, weight in full.items():
        convolution = weight.ndim == 5 and weight.shape[2] > 1
        assert flat[name].shape == ((*weight.shape[:2], 1, *weight.shape[3:]) if convolution else weight.shape)


@pytest.mark.parametrize("size", [(1, 32, 32), (1, 27, 50), (1, 5, 16), (3, 16, 24)])
def test_any_image_is_taken(size: tuple[int, int, int]) -> None:
    network = HCMAUNet(flat=True, patch=64).eval()
    with torch.no_grad():
        features, logits = network.features(network.encode(torch.randn(1, 1, *size)), size)
    assert features.shape == (1, 32, *size)
    assert logits.shape == (1, 2, *size)


def test_every_parameter_takes_part() -> None:
    torch.manual_seed(0)
    network = HCMAUNet(flat=True, patch=32)
    network(torch.randn(1, 1, 1, 32, 32)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert silent == []


def test_a_mass_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    network = HCMAUNet(flat=True, patch=32)
    mass = torch.zeros(1, 1, 32, 32, dtype=torch.long)
    mass[..., 8:20, 10:24] = 1
    image = torch.randn(1, 1, 1, 32, 32) * 0.5 - mass
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(25):
        optimiser.zero_grad()
        partial_ce_dice(network(image), mass).backward()
        optimiser.step()
    with torch.no_grad():
        found = network.eval()(image).argmax(1)
    assert 2 * (found & mass).sum() / (found.sum() + mass.sum()) > 0.8


def test_the_parts_together_give_what_the_network_gives() -> None:
    network, x = HCMAUNet(flat=True, patch=64).eval(), torch.randn(1, 1, 1, 27, 50)
    with torch.no_grad():
        torch.testing.assert_close(network.assemble(network.parts(), x), network(x))


def test_openvino_gives_the_same() -> None:
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network, x = get_preset("hcma-unet/ultrasound").build().eval(), torch.randn(1, 1, 1, 27, 50)
    engine = openvino_network(network, 1, "flat")
    assert not isinstance(engine, str), engine
    with torch.no_grad():
        torch.testing.assert_close(engine(x).softmax(1), network(x).softmax(1), rtol=1e-3, atol=1e-3)
