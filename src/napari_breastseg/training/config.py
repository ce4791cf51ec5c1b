"""The settings of training: from scratch, and of a learning round, every part of which can be switched off to measure its worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from napari_breastseg.losses.frloss import FRLoss

Trained: TypeAlias = Literal["norm-and-head", "decoder", "all"]
"""What learns: the decoder's norms and the last layer, the decoder, or the whole network."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of :func:`~napari_breastseg.training.from_scratch.train_from_scratch`.

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
    balanced : bool
        Draw every group of cases equally often, such as the folders of benign lesions, malignant ones and healthy breasts.
    dropout : bool
        Keep the published dropout; without it a step on a CPU is a tenth shorter, and unlimited phantoms do not overfit.
    frloss : FRLoss, optional
        Added to the method's own loss.
    seed : int
    """

    steps: int = 2000
    batch: int = 2
    patch: int = 64
    learning_rate: float = 1e-3
    phantoms: int = 100
    phantom_shape: tuple[int, int, int] = (96, 160, 160)
    tumour_share: float = 0.5
    balanced: bool = False
    dropout: bool = True
    frloss: FRLoss | None = None
    seed: int = 0


@dataclass(frozen=True)
class LearnConfig:
    """Settings of :func:`~napari_breastseg.training.from_corrections.learn`; 0 or False switches a part off.

    Parameters
    ----------
    steps : int
    learning_rate : float
        Of AdamW, for what "decoder" trains; see :data:`~napari_breastseg.training.parts.RATES` for the others.
    trained : str
        "auto" chooses by device and amount, see :func:`~napari_breastseg.training.parts.choose`.
    trust : float
        Weight of the trust region: away from corrections the network says what it said before.
    reach : int
        Voxels of the working grid around a correction that belong neither to it nor to the trust region.
    replay, distillation : float
        Weights, on the method's exemplars, of their labels and of the answers that the network gave before.
    earlier : bool
        Whether cases that were learned from before are drawn again.
    l2sp : float
        Weight of the pull to the base model's weights (L2-SP, Li et al. 2018).
    ema : float
        Decay of the average of the weights, which is what is judged.
    frloss : float
        Weight of FRLoss on corrections and exemplars.
    gate : bool
        Whether the candidate must pass the gate. Without it whatever was learned is adopted: for ablations only.
    restart : int
        Every so many adopted rounds, training starts from the base model again, with all corrections: 1 always, 0 never.
    seed : int
    """

    steps: int = 200
    learning_rate: float = 2e-3
    trained: Trained | Literal["auto"] = "auto"
    trust: float = 4.0
    reach: int = 8
    replay: float = 2.0
    distillation: float = 4.0
    earlier: bool = True
    l2sp: float = 1e-3
    ema: float = 0.95
    frloss: float = 0.0
    gate: bool = True
    restart: int = 5
    seed: int = 0
