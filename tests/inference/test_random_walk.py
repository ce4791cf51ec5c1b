"""The random walk against scikit-image's, which has no priors, against a simulation, and where it has nothing to do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import random_walker

from napari_breastseg.inference.random_walk import random_walk

SHAPE = (4, 9, 8)
SPACING = (3.0, 1.5, 1.0)


def seeds() -> tuple[np.ndarray, np.ndarray]:
    tumour, healthy = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    tumour[1, 4, 3:5] = healthy[:, 0] = healthy[:, -1] = True
    return tumour, healthy


def smooth(seed: int) -> np.ndarray:
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1)
    return (values - values.min()) / np.ptp(values)


def test_without_priors_it_is_scikit_images() -> None:
    prior, (tumour, healthy) = smooth(0), seeds()
    edge = 5.0
    theirs = random_walker(  # it takes its gradients per standard deviation, and of ten
        prior,
        np.where(tumour, 1, np.where(healthy, 2, 0)),
        beta=10 * edge * prior.std(),
        mode="bf",
        spacing=np.array(SPACING),
        return_full_prob=True,
    )[0]
    np.testing.assert_allclose(random_walk(prior, tumour, healthy, SPACING, edge, 1e-12), theirs, atol=1e-4)


def test_it_is_where_walkers_end() -> None:
    """Walkers from one voxel: each step goes to a neighbour, or ends by the voxel's own prior, in proportion to the weights."""
    prior, (tumour, healthy) = smooth(1), seeds()
    edge, weight, rng = 3.0, 0.3, np.random.default_rng(2)
    start, ended = (2, 5, 5), []
    for _ in range(4000):
        at = start
        while not (tumour[at] or healthy[at]):
            ways = [(weight, None)]
            for axis in range(3):
                for way in (-1, 1):
                    to = tuple(at[i] + way * (i == axis) for i in range(3))
                    if 0 <= to[axis] < SHAPE[axis]:
                        ways.append((float(np.exp(-edge * ((prior[to] - prior[at]) / SPACING[axis]) ** 2)), to))
            weights = np.array([one for one, _ in ways])
            found = ways[rng.choice(len(ways), p=weights / weights.sum())][1]
            if found is None:
                ended.append(prior[at])
                break
            at = found
        else:
            ended.append(float(tumour[at]))
    chance = random_walk(prior, tumour, healthy, SPACING, edge, weight)[start]
    assert chance == pytest.approx(np.mean(ended), abs=3 * np.std(ended) / np.sqrt(len(ended)))


def test_voxels_that_are_shut_in_go_by_what_they_show() -> None:
    prior = np.full((1, 12, 12), 0.1)
    prior[0, 2:5, 2:5], prior[0, 8:11, 8:11] = 0.9, 0.9
    tumour, healthy = np.zeros(prior.shape, bool), np.zeros(prior.shape, bool)
    tumour[0, 3, 3] = healthy[0, :, 0] = True
    chance = random_walk(prior, tumour, healthy, (1, 1, 1), 1000.0, 0.1)
    np.testing.assert_allclose(chance[0, 8:11, 8:11], 0.9, atol=1e-4)
    assert (chance[0, 6] < 0.1).all(), "but for what comes of the healthy seeds"


def test_seeds_stay_and_without_anything_else_are_all() -> None:
    prior, (tumour, healthy) = smooth(3), seeds()
    chance = random_walk(prior, tumour, healthy, SPACING, 5.0, 0.1)
    assert (chance[tumour] == 1).all() and (chance[healthy] == 0).all() and ((chance >= 0) & (chance <= 1)).all()
    np.testing.assert_array_equal(random_walk(prior, tumour, ~tumour, SPACING, 5.0, 0.1), tumour)
    np.testing.assert_allclose(random_walk(prior, tumour & False, tumour & False, SPACING, 1e9, 1.0), prior, atol=1e-4)
