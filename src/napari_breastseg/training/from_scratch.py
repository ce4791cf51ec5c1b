"""Training a preset on phantoms, on folders of cases, or on both."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_breastseg.errors import InputError
from napari_breastseg.inference.devices import pick_device
from napari_breastseg.io.cohort import LabelledCase
from napari_breastseg.kinetics.clustering import load_codebook
from napari_breastseg.methods.model import Model, save_model
from napari_breastseg.methods.preset import Preset
from napari_breastseg.methods.pretrained import load_encoder
from napari_breastseg.networks.flat import FlatNetwork
from napari_breastseg.networks.guided import BASE
from napari_breastseg.networks.hcnet import HCNet
from napari_breastseg.progress import Job, Progress
from napari_breastseg.software import software
from napari_breastseg.training.batches import draw_batch
from napari_breastseg.training.config import TrainConfig
from napari_breastseg.training.hcnet import CODEBOOK, train_stages
from napari_breastseg.training.loop import FitConfig, Weights, fit
from napari_breastseg.training.prepared import PhantomSource, Source, prepare
from napari_breastseg.training.replay import EXAM_SEEDS
from napari_breastseg.training.settings import claim_folder


def train_from_scratch(
    preset: Preset, config: TrainConfig, out: Path, labelled: Sequence[LabelledCase] = (), start: Model | None = None, device: str = "auto",
    encoder: Path | None = None,
) -> Job[Path]:  # fmt: skip
    """Train `preset` and return the path of the model in `out`, with its card; the parameters are those of :func:`train_weights`."""
    weights = yield from train_weights(preset, config, out, labelled, start, device, encoder=encoder)
    card = {
        "preset": preset.name,
        "parent": start.sha if start else None,
        "training": asdict(config),
        "metrics": {},
        "software": software(),
    }
    card["trained_on"] = f"{config.phantoms} phantoms and {len(labelled)} cases"
    if encoder is not None:
        card["encoder"] = {"file": encoder.name, "sha256": _digest(encoder)}
    codebook = out / f"{CODEBOOK}.safetensors"
    if codebook.is_file():
        card["clusters"] = {"sha256": load_codebook(codebook).sha, "curves": codebook.name}
    return save_model(weights, card, out, name="model")


def train_weights(
    preset: Preset, config: TrainConfig, out: Path, labelled: Sequence[LabelledCase] = (), start: Model | None = None, device: str = "auto",
    prepared: Path | None = None, encoder: Path | None = None,
) -> Job[Weights]:  # fmt: skip
    """Train `preset`, registered or not, and return its weights; resumes in `out` after a kill.

    Parameters
    ----------
    preset : Preset
    config : TrainConfig
    out : Path
        Holds the settings and the state.
    labelled : sequence of LabelledCase, optional
        Cases with truth to train on beside the phantoms.
    start : Model, optional
        Weights of the same method to start from; what has another shape in this preset, such as the stem for other channels, begins anew.
    device : str
    prepared : Path, optional
        Folder for cases and phantoms on the working grid, which runs with the same inputs and spacing may share; one in `out` if not given.
    encoder : Path, optional
        ImageNet weights that the encoder starts from; see :mod:`napari_breastseg.methods.pretrained`.

    Raises
    ------
    InputError
        If there is nothing to train on, the preset has no phantoms, the phantoms are those of the gate, `start` is of another method, or
        `out` holds a run with other settings or other data.
    """
    _refuse(preset, config, len(labelled), start)
    pretrained = {} if encoder is None else load_encoder(encoder, preset)
    settings = {
        "preset": preset.name,
        "start": start.sha if start else None,
        "encoder": None if encoder is None else _digest(encoder),
        "cases": {case.name: case.fingerprint() for case in labelled},
        **asdict(config),
    }
    claim_folder(out, settings)
    sources: list[Source] = list(labelled)
    if preset.exemplar is not None:
        sources += [PhantomSource(preset.exemplar, seed, config.phantom_shape) for seed in _seeds(config)]
    place = pick_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = preset.build()
    if isinstance(network, HCNet):
        if start is not None:
            raise InputError(f"{preset.name} is trained in stages, from the beginning only. Leave the model to start from out.")
        return (yield from train_stages(preset, network, config, out, sources, prepared or out / "cases", place))
    if start is not None:
        network.load_state_dict(_fitting(start, network))
    network.load_state_dict({**network.state_dict(), **pretrained})
    places = []
    for index, source in enumerate(sources):
        yield Progress(index, len(sources), f"Preparing {source.name}")
        places.append(prepare(source, preset, prepared or out / "cases"))
    shares = _balanced([source.group for source in sources]) if config.balanced else None
    network.to(place).train()
    if isinstance(network, FlatNetwork):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a tenth to a sixth faster on a CPU
    if not config.dropout:
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def loss(_: nn.Module, step: int) -> Tensor:
        image, labels = (t.to(place) for t in draw_batch(places, config, step, preset.flat, shares=shares))
        with torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
            value, features = preset.loss(network, image, labels)
        return value if config.frloss is None else value + config.frloss(features, labels)

    fit_config = FitConfig(config.steps, config.learning_rate, ema=0.99, warm_up=50, seed=config.seed)
    return (yield from fit(network, loss, fit_config, out / "state.safetensors"))


def _seeds(config: TrainConfig) -> range:
    """Seeds of the phantoms to train on."""
    first = 1000 + config.seed
    return range(first, first + config.phantoms)


def _refuse(preset: Preset, config: TrainConfig, cases: int, start: Model | None) -> None:
    """Refuse what cannot be trained, or must not be."""
    if start is not None and start.preset.method != preset.method:
        raise InputError(
            f"{start.path.name} is a model of {start.preset.method}, not of {preset.method}. Start from one of the same method."
        )
    if config.phantoms and preset.exemplar is None:
        raise InputError(f"There are no phantoms of {preset.modality}. Ask for none (--phantoms 0) and give a folder of cases (--data).")
    if not set(EXAM_SEEDS).isdisjoint(_seeds(config)):
        raise InputError("These phantoms include those on which the gate judges. Choose another seed or fewer phantoms.")
    if not config.phantoms and not cases:
        raise InputError("There is nothing to train on. Ask for phantoms (--phantoms) or give a folder of cases (--data).")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _balanced(groups: Sequence[str]) -> list[float]:
    """Return the share of each case if all groups are drawn equally often."""
    sizes = Counter(groups)
    return [1 / (len(sizes) * sizes[group]) for group in groups]


def _fitting(start: Model, network: nn.Module) -> dict[str, Tensor]:
    """Weights of `network`, or of the one that it refines, replaced by those of `start` wherever name and shape are the same."""
    own: dict[str, Tensor] = network.state_dict()
    known = {**{BASE + key: value for key, value in start.weights.items()}, **start.weights}
    return own | {key: value for key, value in known.items() if key in own and value.shape == own[key].shape}
