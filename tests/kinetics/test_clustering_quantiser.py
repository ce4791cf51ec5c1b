"""The codebook of the VQ-VAE against its equations written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_breastseg.kinetics.clustering.quantiser import MovingCodebook, nearest, spread_codes
from napari_breastseg.kinetics.clustering.vqvae import OBJECTIVES, code_loss, reconstruction_error, straight_through


def test_moving_averages_follow_the_equations() -> None:
    """Fifty steps on drifting encodings: n <- .99 n + .01 count, m <- .99 m + .01 sum z, c = m / n with Laplace smoothing."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(6, 8))
    moving = MovingCodebook(torch.from_numpy(start).float())
    count, total, codes = np.ones(6), start.copy(), start.copy()
    for step in range(50):
        z = rng.normal(size=(200, 8)) + 0.02 * step
        index = [int(np.argmin([((one - code) ** 2).sum() for code in codes])) for one in z]
        encoded = torch.from_numpy(z).float()
        assert nearest(encoded, moving.codes).tolist() == index
        moving.update(encoded, torch.tensor(index))
        for k in range(6):
            mine = z[[i == k for i in index]]
            count[k] = 0.99 * count[k] + 0.01 * len(mine)
            total[k] = 0.99 * total[k] + 0.01 * mine.sum(axis=0)
        number = count.sum()
        for k in range(6):
            codes[k] = total[k] / ((count[k] + 1e-5) / (number + 6e-5) * number)
        np.testing.assert_allclose(moving.codes.numpy(), codes, rtol=1e-4, atol=1e-5)


def test_a_code_that_nobody_chooses_is_put_on_an_encoding_and_the_others_stay() -> None:
    encoded = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    codes = torch.cat([encoded[:3] * 0.1, torch.full((1, 8), 100.0)])
    moving = MovingCodebook(codes.clone())
    moving.update(encoded, nearest(encoded, moving.codes))
    before = moving.codes.clone()
    moving.restart(encoded, torch.Generator().manual_seed(1))
    assert torch.equal(moving.codes[:3], before[:3])
    assert (encoded == moving.codes[3]).all(1).any()
    assert torch.equal(moving.total[3], moving.codes[3]) and moving.count[3] == 1


def test_codes_start_far_apart() -> None:
    """Of four tight groups, k-means++ takes one encoding each; uniform choices would in 9 % of all draws."""
    centres = torch.eye(8)[:4] * 50
    encoded = centres.repeat_interleave(100, 0) + torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        codes = spread_codes(encoded, 4, torch.Generator().manual_seed(seed))
        assert sorted(nearest(codes, centres).tolist()) == [0, 1, 2, 3]


def test_more_codes_than_different_encodings_are_no_failure() -> None:
    codes = spread_codes(torch.ones(20, 8), 5, torch.Generator().manual_seed(0))
    assert torch.equal(codes, torch.ones(5, 8))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_has_the_value_and_the_gradients_of_its_equation(objective: str) -> None:
    """d = z - c: the codebook's term moves c alone and the commitment term z alone; the paper's has the first with the second's weight."""
    g = torch.Generator().manual_seed(0)
    z, c = (torch.randn(5, 8, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    loss = code_loss(objective, z, c, 0.25)  # type: ignore[arg-type]
    loss.backward()
    d = (z - c).detach()
    codebook, commitment = {"ema": (0, 0.25), "standard": (1, 0.25), "paper": (0.25, 0)}[objective]
    assert loss.item() == pytest.approx((codebook + commitment) * (d**2).mean().item())
    for tensor, expected in ((z, 2 * commitment * d / d.numel()), (c, -2 * codebook * d / d.numel())):
        got = torch.zeros_like(d) if tensor.grad is None else tensor.grad
        torch.testing.assert_close(got, expected)


def test_the_gradient_passes_straight_through_the_codes() -> None:
    z = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)
    code = torch.randn(4, 8, dtype=torch.float64)
    quantised = straight_through(z, code)
    torch.testing.assert_close(quantised.detach(), code)
    weight = torch.randn(4, 8, dtype=torch.float64)
    (weight * quantised).sum().backward()
    torch.testing.assert_close(z.grad, weight)


def test_masked_nodes_do_not_count() -> None:
    nodes, decoded = torch.tensor([[0.0, 1.0, 5.0], [1.0, 1.0, 1.0]]), torch.tensor([[0.5, 1.0, 9.0], [1.0, 0.0, 1.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert reconstruction_error(decoded, nodes, mask).item() == pytest.approx((0.25 + 1) / 5)
