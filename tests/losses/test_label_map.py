"""The loss of a label map, against a float64 reference written out voxel by voxel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_breastseg.losses.label_map import label_map_loss, label_weights


def test_weights_are_inverse_clipped_and_of_mean_one() -> None:
    weights = label_weights(torch.tensor([1000, 100, 10, 0])).numpy()
    assert weights.mean() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(10)
    assert weights[2] == weights[3] == pytest.approx(20 * weights[0])


def test_it_is_the_written_out_sum_where_everything_is_inside() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 4, 3, 3, 3)), rng.integers(1, 3, (2, 3, 3, 3))  # labels 0 and 3 are never there
    weights = [1.0, 0.5, 2.0, 0.5]
    cross = total = 0.0
    hit, of_p, of_t = np.zeros(4), np.zeros(4), np.zeros(4)
    for b, z, y, x in np.ndindex(labels.shape):
        values = logits[b, :, z, y, x]
        p = np.exp(values) / np.exp(values).sum()
        k = labels[b, z, y, x]
        cross -= weights[k] * math.log(p[k])
        total += weights[k]
        hit[k] += p[k]
        of_p += p
        of_t[k] += 1
    dice = [(2 * hit[k] + 1e-5) / (of_p[k] + of_t[k] + 1e-5) for k in (1, 2)]
    expected = cross / total + 1 - sum(dice) / 2
    found = label_map_loss(torch.from_numpy(logits), torch.from_numpy(labels), torch.tensor(weights))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_as_many_voxels_of_air_as_of_breast_take_part() -> None:
    labels = torch.zeros(1, 20, 20, 20, dtype=torch.long)
    labels[:, :5] = 1
    logits = torch.zeros(1, 2, 20, 20, 20, requires_grad=True)
    label_map_loss(logits, labels, torch.ones(2), torch.Generator().manual_seed(0)).backward()
    assert logits.grad is not None
    taken = logits.grad.abs().sum(1) > 0
    assert bool(taken[:, :5].all())
    assert int(taken[:, 5:].sum()) == pytest.approx(2000, rel=0.1)


def test_a_patch_of_air_alone_has_a_finite_loss() -> None:
    found = label_map_loss(torch.randn(1, 3, 4, 4, 4), torch.zeros(1, 4, 4, 4, dtype=torch.uint8), torch.ones(3))
    assert bool(torch.isfinite(found))
