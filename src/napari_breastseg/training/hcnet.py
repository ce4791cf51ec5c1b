"""Training HCNet in its three stages, all on the same cases.

First the time-intensity curves are clustered; then a network learns to predict the clusters from the phase before contrast; then the
segmentation learns from that phase and the predicted clusters. In training, the clusters of a case are predicted by a network that was not
trained on it: in-sample they would be better than they will ever be again, and the segmentation would trust them too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_breastseg.case import Case, Geometry, whole
from napari_breastseg.errors import InputError
from napari_breastseg.kinetics.clustering import (
    Codebook,
    FitSettings,
    cluster_map,
    draw_curves,
    fit_clusters,
    merge_non_enhancing,
    save_codebook,
)  # fmt: skip
from napari_breastseg.kinetics.clustering.grid import count_baselines
from napari_breastseg.kinetics.timing import timing_of
from napari_breastseg.losses.label_map import label_map_loss, label_weights
from napari_breastseg.methods.hcnet import segmentation_loss
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.hcnet import HCNet
from napari_breastseg.networks.uxnet import UXNet3D
from napari_breastseg.preprocess.breast_region import breast_mask
from napari_breastseg.preprocess.intensity import as_taken
from napari_breastseg.preprocess.overview import Overview
from napari_breastseg.preprocess.resample import working_shape
from napari_breastseg.progress import Job, Progress
from napari_breastseg.training.batches import draw_batch
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.loop import FitConfig, Weights, fit
from napari_breastseg.training.parts import trained_parameters
from napari_breastseg.training.prepared import CENTRES, Source, keep, mapped, save_array
from napari_breastseg.training.sampling import make_volume

FOLDS = 2
"""Parts of the cases, each of which is predicted by a network that saw the others only."""
CODEBOOK = "codebook"
"""Name of the codebook's files beside the model."""
CLUSTERS = "clusters"
"""Name of the file that holds the cluster of each voxel of a prepared case."""
CURVES = 10_000
"""Voxels of the tumour, and as many of the rest of the breast, that a case gives to the clustering."""


def train_stages(
    preset: Preset, network: HCNet, config: TrainConfig, out: Path, sources: Sequence[Source], folder: Path, device: torch.device
) -> Job[Weights]:
    """Train HCNet and return its weights; goes on in `out` after a kill. The codebook is left there, too.

    Parameters
    ----------
    preset : Preset
    network : HCNet
    config : TrainConfig
        Each network takes its steps; there are three that predict clusters, and one that segments.
    out : Path
        Holds the states and the codebook.
    sources : sequence of Source
        With three phases at least.
    folder : Path
        For the prepared cases.
    device : device

    Raises
    ------
    InputError
        If there are fewer cases than folds, or a case has too few phases.
    """
    if len(sources) < FOLDS:
        raise InputError(f"{preset.name} needs at least {FOLDS} cases to train on. Add some.")
    places = []
    for index, source in enumerate(sources):
        yield Progress(index, len(sources), f"Preparing {source.name}")
        places.append(_prepared(source, preset, folder))
    codebook = yield from _codebook(places, FitSettings(clusters=network.labels - 1, seed=config.seed))
    save_codebook(codebook, out, CODEBOOK)
    weights = yield from _label(places, codebook)
    folds = [places[fold::FOLDS] for fold in range(FOLDS)]
    untrained = network.hipm
    network.hipm = yield from _predictor(untrained, places, config, weights, device, out / "clusters-state.safetensors")
    others = []
    for fold, own in enumerate(folds):
        rest = [place for place in places if place not in own]
        others.append((yield from _predictor(untrained, rest, config, weights, device, out / f"clusters-{fold}-state.safetensors")))
    network.to(device).train()
    loss = partial(_segmentation_loss, others, folds, config, device)
    learning = trained_parameters(network, "all").values()
    return (yield from fit(network, loss, _fit_config(config), out / "state.safetensors", learning))


def _codebook(places: Sequence[Path], settings: FitSettings) -> Job[Codebook]:
    """Cluster the curves of all cases."""
    curves = []
    for index, place in enumerate(places):
        yield Progress(index, len(places), "Reading curves")
        case, seconds, breast = _series(place)
        curves.append((yield from draw_curves(case, seconds, breast, np.asarray(mapped(place).labels), CURVES)))
    return (yield from fit_clusters(curves, settings))


def _label(places: Sequence[Path], codebook: Codebook) -> Job[Tensor]:
    """Write beside each case the cluster of its voxels, 0 outside the breast, and return the weight of each."""
    counts = np.zeros(codebook.clusters + 1)
    for index, place in enumerate(places):
        yield Progress(index, len(places), "Cluster maps")
        found = yield from cluster_map(*_series(place), codebook)
        labels = merge_non_enhancing(found.labels, codebook)
        save_array(place / f"{CLUSTERS}.npy", labels)
        counts += np.bincount(labels.ravel(), minlength=len(counts))
    return label_weights(torch.from_numpy(counts))


def _predictor(
    untrained: UXNet3D, places: Sequence[Path], config: TrainConfig, weights: Tensor, device: torch.device, state: Path
) -> Job[UXNet3D]:
    """Train a copy of an untrained network to predict the clusters of these cases, and of no others."""
    predictor = deepcopy(untrained).to(device).train().requires_grad_(True)

    def loss(_: nn.Module, step: int) -> Tensor:
        image, labels = (t.to(device) for t in draw_batch(places, config, step, labels=CLUSTERS))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = predictor(image)
        return label_map_loss(logits, labels, weights)

    predictor.load_state_dict((yield from fit(predictor, loss, _fit_config(config), state)))
    return predictor.eval().requires_grad_(False)


def _segmentation_loss(
    predictors: Sequence[UXNet3D], folds: Sequence[Sequence[Path]], config: TrainConfig, device: torch.device, network: nn.Module, step: int
) -> Tensor:
    """Draw a batch of one fold, tell the network what the predictor that has not seen that fold says of it, and return the loss."""
    assert isinstance(network, HCNet)
    fold = int(np.random.default_rng((config.seed, step)).integers(FOLDS))
    image, labels = (t.to(device) for t in draw_batch(folds[fold], config, step))
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        with torch.no_grad():
            told = predictors[fold](image).float().softmax(1)
        features, logits = network.features(network.encode_with(image, told), image.shape[2:])
    value = segmentation_loss(logits, labels)
    return value if config.frloss is None else value + config.frloss(features, labels)


def _fit_config(config: TrainConfig) -> FitConfig:
    return FitConfig(config.steps, config.learning_rate, ema=0.99, warm_up=50, seed=config.seed)


def _prepared(source: Source, preset: Preset, folder: Path) -> Path:
    """Bring a case, all of its phases and its breasts to the working grid, unless that was done before, and return its place."""
    place = folder / source.name
    if not (place / CENTRES).is_file():
        case, labels = source.read()
        seconds = timing_of(case).seconds
        count_baselines(seconds)
        seen = Overview.of(case)
        shape = working_shape(case.shape, case.geometry.spacing, preset.spacing)
        place.mkdir(parents=True, exist_ok=True)
        save_array(place / "series.npy", as_taken(seen).read(whole(case.shape), shape))
        save_array(place / "breast.npy", breast_mask(seen, shape))
        save_array(place / "seconds.npy", np.array(seconds))
        keep(make_volume(case, labels, preset), place)
    return place


def _series(place: Path) -> tuple[Case, tuple[float, ...], npt.NDArray[np.bool_]]:
    """Return all phases of a prepared case, as a case on the working grid, their seconds after the injection, and its breasts."""
    files = (place / f"{name}.npy" for name in ("series", "breast", "seconds"))
    series, breast, seconds = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
    _, z, y, x = series.shape
    return Case(place.name, series, Geometry((1.0, 1.0, 1.0), np.eye(4), (x, y, z))), tuple(map(float, seconds)), np.asarray(breast)
