"""Which engine runs a network's convolutions on a CPU: OpenVINO where it is installed and gives torch's numbers, else torch."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from napari_breastseg.errors import ComputeError
from napari_breastseg.networks.segmentation import Part, SegmentationNetwork

TOLERANCE = 1e-3
"""Largest difference in the probability of a class that is still taken for the same."""
SAMPLE = 32
"""Edge, in voxels, of the random patch, of one slice for a flat network, on which the engines are compared."""

LARGE = 2**21
"""Numbers in a part's input from which its working memory is given back after each call: a patch of 128 voxels, not one of 64."""
KEPT = 2
"""Compiled models kept in memory: the current one and the one before."""

FAILURES = (RuntimeError, ImportError, OSError, AttributeError)
"""What OpenVINO raises: an operator or a processor that it does not know, a broken installation, a version with other names inside."""

_compiled: dict[str, list[Any] | str] = {}
_lock = threading.Lock()
_forced: str | None = None


def force_engine(name: str | None) -> None:
    """Use "torch" or "openvino" on the CPU from now on; None chooses again by itself.

    Raises
    ------
    ComputeError
        If there is no such engine, or OpenVINO is not installed.
    """
    global _forced
    if name not in (None, "torch", "openvino"):
        raise ComputeError(f"There is no engine {name!r}. Choose torch or openvino.")
    if name == "openvino" and not openvino_state().startswith("ready"):
        raise ComputeError(f"OpenVINO is {openvino_state()}.")
    _forced = name


def openvino_state() -> str:
    """Return whether OpenVINO can be used here, and why not."""
    if importlib.util.find_spec("openvino") is None:
        return 'not installed: pip install "napari-breastseg[all]" brings it'
    try:
        found = version("openvino")
    except PackageNotFoundError:  # under another name, as from conda
        found = "of unknown version"
    return f"ready ({found}), compared with torch when a model is loaded"


def forced_engine() -> str | None:
    """Return the engine that was asked for, if any."""
    return _forced


class OpenVINONetwork:
    """A network whose parts run in OpenVINO and whose mixers run in torch; call it with (batch, channel, D, H, W) for the logits."""

    def __init__(self, network: SegmentationNetwork, models: Sequence[Any]) -> None:
        self.network = network
        self.parts = [_Request(model) for model in models]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits (batch, classes, D, H, W)."""
        # The last part's memory belongs to OpenVINO and is written again at the next call.
        return self.network.assemble(self.parts, x).clone()


class _Request:
    """One compiled part: logical channels-first tensors in and out, channels-last in memory."""

    def __init__(self, model: Any) -> None:
        self.request = model.create_infer_request()

    def __call__(self, *tensors: Tensor) -> Tensor:
        arrays = [t.movedim(1, -1).contiguous().numpy() for t in tensors]
        output = self.request.infer(arrays, share_inputs=True, share_outputs=True)[0]
        if tensors[0].numel() >= LARGE:
            with suppress(RuntimeError):  # another thread is using it; the next call gives it back
                self.request.get_compiled_model().release_memory()
        return torch.from_numpy(output).movedim(-1, 1)


def openvino_network(network: SegmentationNetwork, channels: int, key: str) -> OpenVINONetwork | str:
    """Compile a network for the CPU, or say why torch is the better choice.

    Parameters
    ----------
    network : SegmentationNetwork
        On the CPU, in evaluation mode.
    channels : int
        Input channels.
    key : str
        Name of the weights (their sha256): the compiled parts of the two that were used last are kept.

    Returns
    -------
    OpenVINONetwork or str
        The reason, if OpenVINO is missing, fails, or gives other numbers than torch.

    Raises
    ------
    ComputeError
        For such a reason, if OpenVINO was asked for.
    """
    if _forced == "torch":
        return "torch was asked for"
    found = _openvino_network(network, channels, key)
    if _forced == "openvino" and isinstance(found, str):
        raise ComputeError(f"OpenVINO was asked for, but {found}. Leave --engine out to use torch.")
    return found


def _openvino_network(network: SegmentationNetwork, channels: int, key: str) -> OpenVINONetwork | str:
    if not openvino_state().startswith("ready"):
        return f"OpenVINO is {openvino_state()}"
    if not network.parts():
        return "this network has no parts for OpenVINO"
    with _lock:
        models = _compiled.pop(key, None)
        if models is None:
            size = (1 if network.flat else SAMPLE, SAMPLE, SAMPLE)
            models = _checked(network, torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0)))
        _compiled[key] = models  # the last in order is the one that was used last
        while len(_compiled) > KEPT:
            del _compiled[next(iter(_compiled))]
    return models if isinstance(models, str) else OpenVINONetwork(network, models)


def _checked(network: SegmentationNetwork, sample: Tensor) -> list[Any] | str:
    """Compile every part on what it sees of the sample, and compare the whole with torch."""
    seen: list[tuple[Tensor, ...]] = []

    def watched(part: Part) -> Part:
        def call(*tensors: Tensor) -> Tensor:
            seen.append(tensors)
            return part(*tensors)

        return call

    try:
        with torch.no_grad():
            expected = network.assemble([watched(part) for part in network.parts()], sample).softmax(1)
            models = [compile_part(part, tensors) for part, tensors in zip(network.parts(), seen, strict=True)]
            got = OpenVINONetwork(network, models)(sample).softmax(1)
    except FAILURES as error:
        return f"OpenVINO could not compile the model ({first_line(error)})"
    difference = float((got - expected).abs().max())
    return models if difference < TOLERANCE else f"OpenVINO gave other numbers than torch (by {difference:.1g} in probability)"


def first_line(error: Exception) -> str:
    """Return the beginning of an error's message, or its kind if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def compile_part(part: nn.Module, examples: Sequence[Tensor], any_size: bool = True) -> Any:
    """Compile layers for OpenVINO, channels-last in and out.

    Parameters
    ----------
    part : nn.Module
        In evaluation mode.
    examples : sequence of Tensor, shape (1, channel, D, H, W)
    any_size : bool
        Whether the sizes may differ from those of the examples.

    Raises
    ------
    RuntimeError
        If OpenVINO cannot compile it.
    """
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # A traced function holds its weights as constants, and is traced much faster than a module of modules.
    frozen = deepcopy(part).requires_grad_(False)

    def channels_last(*tensors: Tensor) -> Tensor:
        out: Tensor = frozen(*(t.movedim(-1, 1) for t in tensors)).movedim(1, -1)
        return out

    inputs = tuple(t.movedim(1, -1).contiguous() for t in examples)
    # The front end itself, since openvino.convert_model reports its use over the network; manager and decoder must outlive the conversion.
    manager = FrontEndManager()
    frontend = manager.load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(torch.jit.trace(channels_last, inputs, check_trace=False), example_input=inputs)
    model = frontend.convert(frontend.load(decoder))
    model.reshape({i: [t.shape[0], *((-1,) * (t.ndim - 2) if any_size else t.shape[1:-1]), t.shape[-1]] for i, t in enumerate(inputs)})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # the threads of two processes would be pinned to the same processor
    }
    return openvino.compile_model(model, "CPU", settings)
