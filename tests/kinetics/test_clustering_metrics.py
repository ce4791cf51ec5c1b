"""Figures of a clustering against loops written out and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score

from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.clustering import cluster_metrics, purity, tumour_ratios


def example() -> tuple[np.ndarray, np.ndarray]:
    """Three overlapping clusters of unequal size, labelled with gaps."""
    rng = np.random.default_rng(0)
    labels = rng.choice([2, 5, 9], 300, p=[0.6, 0.3, 0.1])
    return (rng.random((5, 300)) + 0.05 * labels).astype(np.float32), labels


def test_the_figures_are_those_of_their_definitions() -> None:
    curves, labels = example()
    x = {k: [curves[:, i].astype(np.float64) for i in range(300) if labels[i] == k] for k in (2, 5, 9)}
    mu = {k: sum(v) / len(v) for k, v in x.items()}
    s = {k: sum(np.linalg.norm(one - mu[k]) for one in v) / len(v) for k, v in x.items()}
    pairs = list(itertools.combinations((2, 5, 9), 2))
    found = cluster_metrics(curves, labels)
    assert found.clusters == 3
    assert found.cpn == pytest.approx(sum(s.values()) / 3, rel=1e-12)
    assert found.spt == pytest.approx(2 / (3 * 2) * sum(np.linalg.norm(mu[i] - mu[j]) for i, j in pairs), rel=1e-12)
    assert found.sse == pytest.approx(sum(((one - mu[k]) ** 2).sum() for k, v in x.items() for one in v) / 300, rel=1e-12)


def test_the_davies_bouldin_index_is_scikit_learn_s() -> None:
    curves, labels = example()
    assert cluster_metrics(curves, labels).dbn == pytest.approx(davies_bouldin_score(curves.T.astype(np.float64), labels), rel=1e-12)


def test_one_cluster_is_not_separated_from_anything() -> None:
    with pytest.raises(InputError, match="Fewer than two clusters"):
        cluster_metrics(np.random.default_rng(0).random((4, 10)), np.full(10, 3))


def test_tumour_ratios_compare_shares_of_each_tissue() -> None:
    labels = np.array([1] * 3 + [2] * 7 + [1] * 90 + [3] * 10)
    tumour = np.arange(110) < 10
    ratios = tumour_ratios(labels, tumour)
    assert ratios == pytest.approx({1: 0.3 / (0.3 + 0.9), 2: 1.0, 3: 0.0})


@pytest.mark.parametrize("tumour", [np.zeros(4, bool), np.ones(4, bool)])
def test_tumour_ratios_need_both_tissues(tumour: np.ndarray) -> None:
    with pytest.raises(InputError, match="only one of them"):
        tumour_ratios(np.arange(4), tumour)


def test_purity_is_the_share_of_each_cluster_s_commonest_class() -> None:
    assert purity(np.array([1, 1, 1, 2, 2, 4]), np.array([0, 0, 3, 3, 0, 1])) == pytest.approx((2 + 1 + 1) / 6)
