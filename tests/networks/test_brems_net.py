"""BReMS-Net: counts by part, its blocks against plain definitions, and any size of image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter

from napari_breastseg.inference.engines import openvino_network
from napari_breastseg.losses.aw_loss import aw_loss
from napari_breastseg.networks.brems_net import BFA, COMPACT, GRANULARITIES, HEADS, MHD, BReMSNet, Sizes

SMALL = Sizes("basic", (1, 1, 1, 1), (8, 8, 16, 16), (16, 8, 8, 8), 8)


def count(module: torch.nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((False, False, False), 44_071_044),
        ((True, False, False), 60_468_068),
        ((False, True, False), 45_456_452),
        ((True, True, False), 61_853_476),
        ((True, True, True), 61_890_543),
    ],
)
def test_the_ablation_has_its_counts(parts: tuple[bool, bool, bool], expected: int) -> None:
    with torch.device("meta"):
        assert count(BReMSNet(*parts)) == expected


def test_the_parts_have_their_counts() -> None:
    with torch.device("meta"):
        network = BReMSNet()
    assert count(network.encoder) == 23_508_032  # torchvision's ResNet-50 without its last layer
    assert [count(part) for part in network.enrich] == [12_384, 193_920, 772_864, 3_085_824, 12_332_032]
    assert [count(block.gate) for block in network.decoder] == [1_049_088, 262_400, 65_664, 8_256]  # type: ignore[arg-type]
    assert count(network.refinement) == 37_067


def test_mhd_hands_each_group_to_the_next() -> None:
    """What one voxel of the first group tells reaches 1, 1 + 2 and 1 + 2 + 3 voxels far; the last group stays where it is."""
    torch.manual_seed(0)
    mhd = MHD(4).eval()
    for part in (*mhd.narrow, *mhd.wide):
        torch.nn.init.ones_(part[0].weight)  # type: ignore[index]
    torch.nn.init.zeros_(mhd.mix[0].weight)
    x = torch.zeros(1, 4, 15, 15)
    x[:, 0, 7, 7] = 1
    for channel, reach in enumerate((1, 3, 6)):
        torch.nn.init.zeros_(mhd.mix[0].weight)
        mhd.mix[0].weight.data[0, channel] = 1
        with torch.no_grad():
            seen = mhd(x)[0, 0].nonzero()
        assert (seen - 7).abs().max() == reach


def test_bfa_compares_with_the_highest_around() -> None:
    torch.manual_seed(0)
    bfa, x = BFA(3, 5), torch.randn(1, 3, 9, 11)
    image = x[0].double().numpy()
    below = np.concatenate([image - maximum_filter(image, (1, size, size), mode="constant", cval=-np.inf) for size in GRANULARITIES])
    weight, bias = (p.detach().double().numpy() for p in bfa.weigh.parameters())
    expected = 1 / (1 + np.exp(-(np.tensordot(weight[:, :, 0, 0], below, 1) + bias[:, None, None])))
    with torch.no_grad():
        np.testing.assert_allclose(bfa(x)[0].numpy(), expected, rtol=1e-5)
    assert (below <= 0).all()


@pytest.mark.parametrize("size", [(64, 64), (50, 79), (20, 33)])
def test_any_image_is_taken_and_every_head_answers(size: tuple[int, int]) -> None:
    network = BReMSNet(sizes=SMALL).eval()
    x = torch.rand(1, 1, 1, *size)
    with torch.no_grad():
        encoded = network.encode(x)
        features, logits = network.features(encoded, (1, *size))
        answers = network.every_answer(encoded)
        coarse = network.first_logits(encoded, (1, *size))
    assert features.shape == (1, 8, 1, *size)
    assert logits.shape == (1, 2, 1, *size)
    assert tuple(answers) == (*HEADS, "features")
    h, w = size
    torch.testing.assert_close((logits[:, 1] - logits[:, 0])[:, 0], answers["refined"][:, 0, :h, :w])
    torch.testing.assert_close((coarse[:, 1] - coarse[:, 0])[:, 0], answers["coarse"][:, 0, :h, :w])


def test_without_refinement_there_is_one_answer_less() -> None:
    network = BReMSNet(prm=False, sizes=SMALL).eval()
    with torch.no_grad():
        encoded = network.encode(torch.rand(1, 1, 1, 64, 64))
        assert len(network.every_answer(encoded)) == len(HEADS)  # four heads and the features
        torch.testing.assert_close(network.first_logits(encoded, (1, 64, 64)), network.decode(encoded, (1, 64, 64)))


def test_every_parameter_takes_part_in_aw_loss() -> None:
    torch.manual_seed(0)
    network = BReMSNet(sizes=SMALL)
    answers = network.every_answer(network.encode(torch.rand(2, 1, 1, 64, 64)))
    aw_loss([answers[name] for name in HEADS], torch.randint(0, 2, (2, 1, 64, 64))).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert silent == []


def test_a_mass_is_learned_by_heart_by_all_heads() -> None:
    torch.manual_seed(0)
    network = BReMSNet(sizes=SMALL)
    mass = torch.zeros(2, 1, 64, 64, dtype=torch.long)
    mass[:, :, 16:40, 20:48] = 1
    image = (0.3 + 0.1 * torch.randn(2, 1, 1, 64, 64) + 0.3 * mass[:, None]).clip(0, 1)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        answers = network.every_answer(network.encode(image))
        aw_loss([answers[name] for name in HEADS], mass).backward()
        optimiser.step()
    with torch.no_grad():
        answers = network.every_answer(network.encode(image))
    for name in ("refined", "coarse"):
        found = answers[name] > 0
        assert 2 * (found & (mass == 1)).sum() / (found.sum() + mass.sum()) > 0.8


def test_the_compact_network_is_small() -> None:
    with torch.device("meta"):
        assert count(BReMSNet(sizes=COMPACT)) < 3_000_000


def test_openvino_gives_the_same_at_any_size() -> None:
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = BReMSNet(sizes=SMALL).eval()
    engine = openvino_network(network, 1, "brems-net")
    assert not isinstance(engine, str), engine
    for size in ((128, 128), (70, 131)):
        x = torch.rand(1, 1, 1, *size)
        with torch.no_grad():
            torch.testing.assert_close(engine(x).softmax(1), network(x).softmax(1), rtol=1e-3, atol=1e-3)
