"""The two ends of the networks: padding that a crop undoes, and one logit as two."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_breastseg.networks.ends import padded, two_logits


@pytest.mark.parametrize(
    ("size", "expected"),
    [((16, 64, 64), (16, 64, 64)), ((17, 65, 96), (32, 96, 96)), ((1, 2, 3), (16, 64, 64)), ((33, 64, 1), (48, 64, 64))],
)
def test_padding_repeats_the_far_ends_up_to_the_divisor(size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, *size))
    margins = [(0, m - n) for n, m in zip(size, expected, strict=True)]
    got = padded(torch.from_numpy(x), (16, 32, 32), (16, 64, 64))
    np.testing.assert_array_equal(got, np.pad(x, [(0, 0), (0, 0), *margins], mode="edge"))


def test_two_logits_have_the_odds_of_the_one() -> None:
    logit = torch.linspace(-8, 8, 17, dtype=torch.float64).view(1, 1, 17, 1, 1)
    torch.testing.assert_close(two_logits(logit).softmax(1)[:, 1:], torch.sigmoid(logit))
