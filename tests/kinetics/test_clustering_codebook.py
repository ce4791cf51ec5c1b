"""A codebook on disk: the same afterwards, named by what it holds, and refused when damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from napari_breastseg.errors import ModelError
from napari_breastseg.kinetics.clustering import Codebook, load_codebook, save_codebook
from napari_breastseg.kinetics.clustering.codebook import canonical_order


def some_codebook(clusters: int = 10, reach: int = 7, seed: int = 0) -> Codebook:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(scale=0.3, size=shape).astype(np.float32)

    layers = ((normal(64, 16), normal(64)), (normal(64, 64), normal(64)), (normal(8, 64), normal(8)))
    return Codebook(layers, normal(clusters, 8), normal(clusters, reach), {"cases": 1})


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    codebook = some_codebook()
    path = save_codebook(codebook, tmp_path)
    loaded = load_codebook(path)
    assert path.stem == codebook.sha == loaded.sha
    assert loaded.card["cases"] == 1
    for one, two in zip(codebook.layers, loaded.layers, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_array_equal(loaded.centroids, codebook.centroids)
    np.testing.assert_array_equal(loaded.decoded, codebook.decoded)


def test_the_hash_is_of_the_weights_and_the_order_but_not_of_the_card() -> None:
    codebook = some_codebook()
    assert replace(codebook, card={"cases": 99}).sha == codebook.sha
    assert replace(codebook, centroids=codebook.centroids[::-1].copy(), decoded=codebook.decoded[::-1].copy()).sha != codebook.sha
    weight = codebook.layers[1][0].copy()
    weight[3, 3] = np.nextafter(weight[3, 3], np.float32(9))
    assert replace(codebook, layers=(codebook.layers[0], (weight, codebook.layers[1][1]), codebook.layers[2])).sha != codebook.sha


def test_clusters_are_ordered_by_their_uptake_and_then_by_their_wash_out() -> None:
    decoded = np.array([[0, 0.9, 0.8], [0, 0.2, 1.0], [0, 0.9, 0.4], [0.5, 0.6, 1.0]], np.float32)
    assert canonical_order(decoded).tolist() == [3, 1, 0, 2]


def test_the_flattest_cluster_is_that_with_the_smallest_range() -> None:
    decoded = np.array([[0, 0.9, 0.8], [0.3, 0.4, 0.5], [0.9, 0.2, 0.4]], np.float32)
    assert replace(some_codebook(3), decoded=decoded).flattest == 2


def test_a_damaged_missing_or_exchanged_file_is_refused(tmp_path: Path) -> None:
    path = save_codebook(some_codebook(), tmp_path, "one")
    other = save_codebook(some_codebook(seed=1), tmp_path, "two")
    content, card = path.read_bytes(), path.with_suffix(".json").read_text(encoding="utf-8")

    path.write_bytes(other.read_bytes())
    with pytest.raises(ModelError, match="not the one that its card describes"):
        load_codebook(path)
    path.write_bytes(content[:-40])
    with pytest.raises(ModelError, match="missing or damaged"):
        load_codebook(path)
    path.write_bytes(content)
    path.with_suffix(".json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="missing or damaged"):
        load_codebook(path)
    path.with_suffix(".json").write_text(json.dumps({**json.loads(card), "sha256": 5}), encoding="utf-8")
    with pytest.raises(ModelError, match="not the one"):
        load_codebook(path)
    with pytest.raises(ModelError, match="missing or damaged"):
        load_codebook(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("centroids", np.zeros((10, 9), np.float32)),
        ("decoded", np.zeros((10, 9), np.float32)),
        ("decoded", np.full((10, 7), np.nan, np.float32)),
        ("encoder.1.bias", np.zeros(63, np.float32)),
    ],
)
def test_weights_of_something_else_are_refused(tmp_path: Path, name: str, wrong: np.ndarray) -> None:
    path = save_codebook(some_codebook(), tmp_path, "one")
    path.write_bytes(safetensors.numpy.save({**safetensors.numpy.load(path.read_bytes()), name: wrong}))
    with pytest.raises(ModelError, match="no codebook of this version"):
        load_codebook(path)
