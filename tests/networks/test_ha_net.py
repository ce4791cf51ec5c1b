"""HA-Net: its five published counts, its attention against plain matrices, and any size of image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_breastseg.errors import InputError
from napari_breastseg.inference.engines import openvino_network
from napari_breastseg.losses.overlap import jaccard_loss
from napari_breastseg.networks.ha_net import SFEB, TAM, HANet, PooledNorm
from napari_breastseg.networks.unet import UNet

SMALL = {"growth": 4, "initial": 8, "widths": (32, 16, 16, 8, 8)}


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("parts", "published"),
    [((False, False, False), 10_498_945), ((True, False, False), 11_089_537), ((True, True, False), 15_339_329), ((True,) * 3, 15_427_713)],
)
def test_the_ablation_has_the_published_counts(parts: tuple[bool, bool, bool], published: int) -> None:
    with torch.device("meta"):
        assert count(HANet(*parts)) == published


def test_the_unet_has_the_published_count() -> None:
    with torch.device("meta"):
        assert count(UNet()) == 34_513_345


def test_the_encoder_is_densenet_121() -> None:
    with torch.device("meta"):
        assert count(HANet().encoder) == 6_953_856


def test_kernels_of_one_pixel_leave_sfeb_the_same_function() -> None:
    """On a vector only the middle of a kernel sees anything, so 16 C^2 weights of each block are dead."""
    torch.manual_seed(0)
    wide, narrow, x = SFEB(8).eval(), SFEB(8, 1).eval(), torch.randn(2, 8, 5, 6)
    weights = wide.state_dict()
    weights["both.0.weight"] = weights["both.0.weight"][:, :, 1:2, 1:2]
    narrow.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(narrow(x), wide(x))
    assert count(wide) - count(narrow) == 16 * 8 * 8


def test_sfeb_adds_one_number_to_each_channel() -> None:
    block, x = SFEB(8).eval(), torch.randn(2, 8, 5, 6)
    with torch.no_grad():
        added = block(x) - x
    torch.testing.assert_close(added, added.mean((2, 3), keepdim=True).expand_as(added))


def numpy_tam(tam: TAM, x: np.ndarray) -> np.ndarray:
    """TAM of one image (channel, h, w) in float64, written out from the paper's equations, with loops for the products."""
    w = {name: value.detach().double().numpy() for name, value in tam.named_parameters()}
    channels, h, width = x.shape
    tokens = x.reshape(channels, -1)

    def linear(name: str) -> np.ndarray:
        return w[f"{name}.weight"][:, :, 0, 0] @ tokens + w[f"{name}.bias"][:, None]

    def softmax(a: np.ndarray) -> np.ndarray:
        e = np.exp(a - a.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    attention = softmax(linear("query").T @ linear("key"))
    seen = linear("value") @ attention.T
    if "mix" in w:
        seen = seen @ w["mix"]
    places = np.concatenate([np.repeat(w["rows"][:, :, None], width, 2), np.repeat(w["columns"][:, None], h, 1)]).reshape(channels, -1)
    p = tokens + places
    if tam.tsa == "token":
        own = p @ softmax(p.T @ p / np.sqrt(channels)).T
    else:
        own = softmax(p @ p.T / np.sqrt(h * width)) @ p
    return (tokens + seen + own).reshape(x.shape)


@pytest.mark.parametrize("mix", [True, False])
@pytest.mark.parametrize("tsa", ["token", "channel"])
def test_tam_is_its_equations(mix: bool, tsa: str) -> None:
    torch.manual_seed(0)
    tam, x = TAM(16, mix, tsa).eval(), torch.randn(2, 16, 8, 8)  # type: ignore[arg-type]
    with torch.no_grad():
        got = tam(x).numpy()
    expected = np.stack([numpy_tam(tam, image) for image in x.double().numpy()])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_the_tables_of_tam_suit_any_size() -> None:
    """Where all tokens are alike the matrix between them sums them up, however many there are."""
    torch.manual_seed(0)
    tam = TAM(16).eval()
    assert tam.mix is not None
    torch.nn.init.constant_(tam.mix, 0.01)
    torch.nn.init.zeros_(tam.rows)
    torch.nn.init.zeros_(tam.columns)
    with torch.no_grad():
        small, large = (tam(torch.linspace(0, 1, 16)[None, :, None, None].expand(1, 16, *size)) for size in ((8, 8), (5, 11)))
    torch.testing.assert_close(large, small[..., :1, :1].expand_as(large))


@pytest.mark.parametrize("size", [(256, 256), (200, 317), (31, 40)])
def test_any_image_is_taken(size: tuple[int, int]) -> None:
    network = HANet(**SMALL).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        features, logits = network.features(network.encode(torch.rand(1, 1, 1, *size)), (1, *size))
    assert features.shape == (1, 8, 1, *size)
    assert logits.shape == (1, 2, 1, *size)


@pytest.mark.parametrize("network", [lambda: HANet(**SMALL), lambda: UNet((4, 8, 8, 8, 8))], ids=["ha-net", "unet"])  # type: ignore[arg-type]
def test_a_mass_is_learned_by_heart(network: object) -> None:
    torch.manual_seed(0)
    made = network()  # type: ignore[operator]
    mass = torch.zeros(2, 1, 64, 64, dtype=torch.long)
    mass[:, :, 16:40, 20:48] = 1
    image = (0.5 + 0.1 * torch.randn(2, 1, 1, 64, 64) - 0.3 * mass[:, None]).clip(0, 1)
    optimiser = torch.optim.AdamW(made.parameters(), 3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        jaccard_loss(made(image), mass).backward()
        optimiser.step()
    with torch.no_grad():
        found = made(image).argmax(1)
    assert 2 * (found & mass).sum() / (found.sum() + mass.sum()) > 0.8


def test_every_parameter_but_dead_kernels_takes_part() -> None:
    torch.manual_seed(0)
    network = HANet(**SMALL)  # type: ignore[arg-type]
    network(torch.rand(2, 1, 1, 256, 256)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert silent == []


def test_a_batch_of_one_trains() -> None:
    network = HANet(**SMALL).train()  # type: ignore[arg-type]
    assert network(torch.rand(1, 1, 1, 64, 64)).isfinite().all()


def test_pooled_norm_is_batch_norm_where_there_is_a_batch() -> None:
    torch.manual_seed(0)
    ours, theirs, x = PooledNorm(4), torch.nn.BatchNorm2d(4), torch.randn(3, 4, 1, 1)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x[:1]), theirs.eval()(x[:1]))  # with what it has seen so far


def test_tam_needs_what_it_works_on() -> None:
    with pytest.raises(InputError, match="ConvBlock"):
        HANet(False, False, True)


@pytest.mark.parametrize("network", [lambda: HANet(**SMALL), lambda: UNet((4, 8, 8, 8, 8))], ids=["ha-net", "unet"])  # type: ignore[arg-type]
def test_openvino_gives_the_same_at_any_size(network: object) -> None:
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    made = network().eval()  # type: ignore[operator]
    engine = openvino_network(made, 1, f"flat {type(made)}")
    assert not isinstance(engine, str), engine
    for size in ((256, 256), (70, 131)):
        x = torch.rand(1, 1, 1, *size)
        with torch.no_grad():
            torch.testing.assert_close(made.assemble(made.parts(), x), made(x))
            torch.testing.assert_close(engine(x).softmax(1), made(x).softmax(1), rtol=1e-3, atol=1e-3)
