"""MONAI's networks in two halves: the same numbers as MONAI's own forward, and FRLoss trains them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import DynUNet, MedNeXtSmall, SwinUNETR
from torch import Tensor, nn
from torch.nn.functional import pad

from napari_breastseg.evaluation.peers import NNUNET_FILTERS, mednext, nnunet, swin_unetr_v2
from napari_breastseg.losses.frloss import FRLoss, foreground_centre, similarity
from napari_breastseg.networks.segmentation import SegmentationNetwork


def dynunet() -> nn.Module:
    options = {"kernel_size": [3] * 6, "strides": [1] + [2] * 5, "upsample_kernel_size": [2] * 5, "filters": NNUNET_FILTERS}
    return DynUNet(3, 2, 2, **options)


def swin() -> nn.Module:
    pytest.importorskip("einops")
    return SwinUNETR(2, 2, feature_size=24, use_v2=True)


def mednext_small() -> nn.Module:
    return MedNeXtSmall(in_channels=2, out_channels=2, kernel_size=3)


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    return build().eval()


@pytest.mark.parametrize(
    ("ours", "theirs", "divisor"),
    [
        pytest.param(lambda: nnunet(2), dynunet, 32, id="nnunet", marks=pytest.mark.slow),
        pytest.param(lambda: swin_unetr_v2(2), swin, 32, id="swin_unetr_v2", marks=pytest.mark.slow),
        pytest.param(lambda: mednext(2), mednext_small, 16, id="mednext"),
    ],
)
def test_a_peer_gives_the_numbers_of_monai(ours: Callable[[], nn.Module], theirs: Callable[[], nn.Module], divisor: int) -> None:
    oracle = seeded(theirs)
    peer = seeded(ours)
    assert isinstance(peer, SegmentationNetwork)
    x = torch.randn(1, 2, 20, 24, 17)
    full = [max(2 * divisor, math.ceil(n / divisor) * divisor) for n in x.shape[2:]]
    with torch.no_grad():
        padded = pad(x, [0, full[2] - 17, 0, full[1] - 24, 0, full[0] - 20], mode="replicate")
        expected = oracle(padded)[..., :20, :24, :17]
        features, logits = peer.features(peer.encode(x), x.shape[2:])
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(peer(x), expected, rtol=1e-5, atol=1e-5)
    weight, bias = linear(peer.head)
    by_hand = torch.einsum("oc,bcdhw->bodhw", weight, features) + bias.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(by_hand, expected, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in peer.parameters()) == sum(p.numel() for p in set(oracle.parameters()))
    state = peer.state_dict()
    assert all(torch.is_floating_point(value) for value in state.values())
    assert len({value.data_ptr() for value in state.values()}) == len(state)  # safetensors takes no shared memory
    assert {name.split(".")[0] for name, _ in peer.decoder_parameters()} == {"head"}


def linear(head: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight (class, feature) and bias of a 1 x 1 x 1 layer, transposed or not."""
    (layer,) = (m for m in head.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d))
    weight = layer.weight.flatten(1)
    assert layer.bias is not None
    return (weight.T if isinstance(layer, nn.ConvTranspose3d) else weight).detach(), layer.bias.detach()


def test_frloss_trains_a_monai_network() -> None:
    """Some steps on FRLoss alone make the tumour's features compact and its surroundings different."""
    torch.manual_seed(0)
    peer = mednext(1)
    labels = torch.zeros(1, 24, 24, 24, dtype=torch.uint8)
    labels[:, 8:15, 9:16, 8:14] = 1
    image = torch.randn(1, 1, 24, 24, 24) * 0.3 + labels[:, None]
    loss = FRLoss(boundary_reach=3, negative_reach=2, hardest=50)
    optimiser = torch.optim.AdamW(peer.body.parameters(), lr=2e-3)
    values, contrasts = [], []
    for _ in range(4):
        features, _ = peer.features(peer.encode(image), labels.shape[1:])
        value = loss(features, labels)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
        s = similarity(features.detach(), foreground_centre(features.detach(), labels == 1))
        contrasts.append(float(s[labels == 1].mean() - s[labels == 0].mean()))
    first = next(peer.body.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0
    assert values[-1] < 0.9 * values[0]
    assert contrasts[-1] > contrasts[0]
