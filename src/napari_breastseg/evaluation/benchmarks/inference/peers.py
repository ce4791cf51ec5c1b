"""Peers that predict a whole volume on the CPU: any network through MONAI's sliding window, and nnU-Net v2 with its own predictor.

A volume is (channel, z, y, x), normalised and on its working grid. Weights are random: time and memory are compared, not masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import SegResNet
from torch import Tensor, nn

from napari_breastseg.errors import ComputeError
from napari_breastseg.evaluation.peers import NNUNET_FILTERS

Volume = npt.NDArray[np.float32]
VolumePredictor = Callable[[Volume], Volume]
"""From a volume (channel, z, y, x) to the probability (z, y, x) of class 1."""

NNUNET_CLASS = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
# What nnU-Net's planner chooses for a patch of 128 voxels: halved until 4 are left, filters doubled up to 320, two convolutions a stage.
NNUNET_ARCHITECTURE: dict[str, Any] = {
    "n_stages": 6,
    "features_per_stage": NNUNET_FILTERS,
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1]] + [[2, 2, 2]] * 5,
    "n_conv_per_stage": [2] * 6,
    "n_conv_per_stage_decoder": [2] * 5,
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
NNUNET_IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")  # named by text in the plans


def monai_sliding(network: Callable[[Tensor], Tensor], patch: Sequence[int], overlap: float = 0.5, batch: int = 1) -> VolumePredictor:
    """Return a predictor of whole volumes: MONAI's sliding window, weighted by a Gaussian.

    Parameters
    ----------
    network : callable
        From (batch, channel, z, y, x) to logits (batch, 2, z, y, x); a module is in eval mode already.
    patch : sequence of int
        Size (z, y, x) of a window; a smaller volume is padded with zeros, as MONAI does.
    overlap : float
        The share of a window that the next one covers again.
    batch : int
        Windows in one forward.
    """

    def predict(channels: Volume) -> Volume:
        with torch.inference_mode():
            volume = torch.from_numpy(channels)[None]
            logits = sliding_window_inference(volume, tuple(patch), batch, network, overlap, mode="gaussian")
            assert isinstance(logits, Tensor)  # a network with several outputs would give several
            return _probability(logits[0])

    return predict


def segresnet(channels: int) -> nn.Module:
    """MONAI's SegResNet as its BraTS bundle has it, 16 filters at first, for two classes; windows are multiples of 8."""
    return SegResNet(init_filters=16, in_channels=channels, out_channels=2).eval()


def nnunet_network(channels: int) -> nn.Module:
    """The network of nnU-Net v2 that its plan gives a patch of 128 voxels, built by nnU-Net, without deep supervision, for two classes."""
    build = _nnunet("utilities.get_network_from_plans").get_network_from_plans
    network: nn.Module = build(NNUNET_CLASS, NNUNET_ARCHITECTURE, NNUNET_IMPORTED, channels, 2, deep_supervision=False)
    return network.eval()


def nnunet_predictor(channels: int, patch: Sequence[int], mirror: bool = False) -> VolumePredictor:
    """Return a predictor of whole volumes: nnU-Net v2's own, with its own network; half of a window overlaps, Gaussian weights.

    Parameters
    ----------
    channels : int
        Channels of the volume.
    patch : sequence of int
        Size (z, y, x) of a window: multiples of 32, at least 64 (instance norm takes no single voxel). The network stays that for 128.
    mirror : bool
        Average the eight mirrored images of each window, as nnU-Net does unless told not to.

    Raises
    ------
    ComputeError
        nnU-Net is not installed.
    """
    network = nnunet_network(channels)
    configuration = {
        "patch_size": list(patch),
        "architecture": {"network_class_name": NNUNET_CLASS, "arch_kwargs": NNUNET_ARCHITECTURE, "_kw_requires_import": NNUNET_IMPORTED},
    }
    # Of a plan and a dataset.json, what the predictor reads; without the label manager's name it prints that it takes the default.
    plans = _nnunet("utilities.plans_handling.plans_handler").PlansManager(
        {"label_manager": "LabelManager", "configurations": {"3d_fullres": configuration}}
    )
    labels = {"labels": {"background": 0, "tumour": 1}}
    make = _nnunet("inference.predict_from_raw_data").nnUNetPredictor
    with redirect_stdout(StringIO()):  # on any CPU it prints that it sets to False what is False already; stdout is for JSON
        predictor = make(0.5, True, mirror, False, torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(network, plans, plans.get_configuration("3d_fullres"), None, labels, "nnUNetTrainer", (0, 1, 2))

    def predict(channels: Volume) -> Volume:
        with torch.inference_mode():
            return _probability(predictor.predict_sliding_window_return_logits(torch.from_numpy(channels)))

    return predict


def _nnunet(module: str) -> Any:
    try:
        return import_module(f"nnunetv2.{module}")
    except ImportError as error:
        raise ComputeError("nnU-Net is not installed. Run: pip install nnunetv2") from error


def _probability(logits: Tensor) -> Volume:
    """Return the probability (z, y, x) of class 1 from logits (2, z, y, x), which nnU-Net keeps in half precision."""
    probability: Volume = torch.sigmoid(logits[1].float() - logits[0]).contiguous().numpy()
    return probability
