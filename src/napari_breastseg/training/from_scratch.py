"""Training a preset on phantoms, on folders of cases, or on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_breastseg.errors import InputError
from napari_breastseg.inference.devices import pick_device
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.io.cohort import LabelledCase
from napari_breastseg.losses.frloss import FRLoss
from napari_breastseg.losses.overlap import partial_ce_dice
from napari_breastseg.methods.model import Model, save_model
from napari_breastseg.methods.preset import Preset
from napari_breastseg.networks.guided import BASE
from napari_breastseg.networks.hcma_unet import edges
from napari_breastseg.progress import Job, Progress
from napari_breastseg.software import software
from napari_breastseg.training.loop import FitConfig, Weights, fit
from napari_breastseg.training.replay import EXAM_SEEDS, phantom_volume
from napari_breastseg.training.sampling import Volume, draw_centre, draw_patch, make_volume
from napari_breastseg.training.settings import claim_folder


@dataclass(frozen=True)
class TrainConfig:
    """Settings of :func:`train_from_scratch`.

    Parameters
    ----------
    steps, batch : int
    patch : int
        Edge of the training patch in voxels of the working grid; a patch of one slice for a preset of images.
    learning_rate : float
    phantoms : int
        Phantoms to make; their seeds count up from ``1000 + seed``.
    phantom_shape : tuple of int
    tumour_share : float
        Share of the patches that are centred on a tumour; the rest prefer bright healthy tissue.
    dropout : bool
        Keep the published dropout; without it a step on a CPU is a tenth shorter, and unlimited phantoms do not overfit.
    frloss : FRLoss, optional
        Added to cross-entropy and Dice.
    seed : int
    """

    steps: int = 2000
    batch: int = 2
    patch: int = 64
    learning_rate: float = 1e-3
    phantoms: int = 100
    phantom_shape: tuple[int, int, int] = (96, 160, 160)
    tumour_share: float = 0.5
    dropout: bool = True
    frloss: FRLoss | None = None
    seed: int = 0


def train_from_scratch(
    preset: Preset, config: TrainConfig, out: Path, labelled: Sequence[LabelledCase] = (), start: Model | None = None, device: str = "auto"
) -> Job[Path]:
    """Train `preset` and return the path of the model in `out`, with its card; the parameters are those of :func:`train_weights`."""
    weights = yield from train_weights(preset, config, out, labelled, start, device)
    card = {
        "preset": preset.name,
        "parent": start.sha if start else None,
        "training": asdict(config),
        "metrics": {},
        "software": software(),
    }
    card["trained_on"] = f"{config.phantoms} phantoms and {len(labelled)} cases"
    return save_model(weights, card, out, name="model")


def train_weights(
    preset: Preset, config: TrainConfig, out: Path, labelled: Sequence[LabelledCase] = (), start: Model | None = None, device: str = "auto",
    prepared: Path | None = None,
) -> Job[Weights]:  # fmt: skip
    """Train `preset`, registered or not, and return its weights; resumes in `out` after a kill.

    Parameters
    ----------
    preset : Preset
    config : TrainConfig
    out : Path
        Holds the settings, the state and the prepared phantoms.
    labelled : sequence of LabelledCase, optional
        Cases with truth to train on beside the phantoms.
    start : Model, optional
        Weights of the same method to start from; what has another shape in this preset, such as the stem for other channels, begins anew.
    device : str
    prepared : Path, optional
        Folder for the cases on the working grid, which runs with the same inputs and spacing may share; one in `out` if not given.

    Raises
    ------
    InputError
        If there is nothing to train on, the preset has no phantoms, the phantoms are those of the gate, `start` is of another method, or
        `out` holds a run with other settings or other data.
    """
    if start is not None and start.preset.method != preset.method:
        raise InputError(
            f"{start.path.name} is a model of {start.preset.method}, not of {preset.method}. Start from one of the same method."
        )
    if config.phantoms and preset.exemplar is None:
        raise InputError(f"There are no phantoms of {preset.modality}. Ask for none (--phantoms 0) and give a folder of cases (--data).")
    first = 1000 + config.seed
    if not set(EXAM_SEEDS).isdisjoint(range(first, first + config.phantoms)):
        raise InputError("These phantoms include those on which the gate judges. Choose another seed or fewer phantoms.")
    total = config.phantoms + len(labelled)
    if total == 0:
        raise InputError("There is nothing to train on. Ask for phantoms (--phantoms) or give a folder of cases (--data).")
    settings = {
        "preset": preset.name,
        "start": start.sha if start else None,
        "cases": {case.name: case.fingerprint() for case in labelled},
        **asdict(config),
    }
    claim_folder(out, settings)
    volumes: list[Volume | Path] = []
    for index in range(config.phantoms):
        yield Progress(index, total, "Making phantoms")
        volumes.append(phantom_volume(preset, first + index, config.phantom_shape, out / "phantoms"))
    for index, case in enumerate(labelled):
        yield Progress(config.phantoms + index, total, f"Reading {case.name}")
        volumes.append(_prepared(case, preset, prepared or out / "cases"))
    place = pick_device(device)
    network = preset.build()
    if start is not None:
        network.load_state_dict(_fitting(start, network))
    network.to(place).train()
    if not config.dropout:
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def loss(_: nn.Module, step: int) -> Tensor:
        image, labels = (t.to(place) for t in draw_batch(volumes, config, step, preset.flat))
        with torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
            if config.frloss is None:
                return partial_ce_dice(network(image), labels)
            features, logits = network.features(network.encode(image), labels.shape[1:])
        return partial_ce_dice(logits, labels) + config.frloss(features, labels)

    fit_config = FitConfig(config.steps, config.learning_rate, ema=0.99, warm_up=50, seed=config.seed)
    return (yield from fit(network, loss, fit_config, out / "state.safetensors"))


def draw_batch(volumes: Sequence[Volume | Path], config: TrainConfig, step: int, flat: bool = False) -> tuple[Tensor, Tensor]:
    """Draw the batch of `step`: images (batch, channel, D, H, W) and labels (batch, D, H, W); the same step gives the same batch.

    A volume may be given as the folder in which it was prepared. The patches of `flat` volumes have one slice.
    """
    patch = edges(config.patch, flat)
    rng = np.random.default_rng((config.seed, step))
    images, labels = [], []
    for _ in range(config.batch):
        volume = volumes[int(rng.integers(len(volumes)))]
        if isinstance(volume, Path):
            volume = _mapped(volume)
        image, label = draw_patch(rng, volume, draw_centre(rng, volume, config.tumour_share), patch)
        images.append(torch.from_numpy(image))
        labels.append(torch.from_numpy(label))
    return torch.stack(images), torch.stack(labels)


def _prepared(case: LabelledCase, preset: Preset, folder: Path) -> Path:
    """Bring a case to the working grid, unless it was done before, and return its place in `folder`: a cohort need not fit in memory."""
    place = folder / case.name
    if not (place / "centres.npz").is_file():
        volume = make_volume(*case.read(), preset)
        place.mkdir(parents=True, exist_ok=True)
        for name, array in (("channels", volume.channels), ("labels", volume.labels)):
            write_atomically(place / f"{name}.npy", _content(np.save, array))
        write_atomically(place / "centres.npz", _content(np.savez, **volume.centres))
    return place


def _mapped(place: Path) -> Volume:
    """Map a prepared case from its files, which are open only as long as the volume is used: a cohort has more than a process may open."""
    with np.load(place / "centres.npz", allow_pickle=False) as centres:
        channels, labels = (np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("channels", "labels"))
        return Volume(channels, labels, dict(centres))


def _content(save: Callable[..., None], *arrays: Any, **named: Any) -> bytes:
    buffer = BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def _fitting(start: Model, network: nn.Module) -> dict[str, Tensor]:
    """Weights of `network`, or of the one that it refines, replaced by those of `start` wherever name and shape are the same."""
    own: dict[str, Tensor] = network.state_dict()
    known = {**{BASE + key: value for key, value in start.weights.items()}, **start.weights}
    return own | {key: value for key, value in known.items() if key in own and value.shape == own[key].shape}
