"""Why the model says tumour: FRLoss's maps (HCMA-UNet, eqs. 3 to 7) of one case.

How much each voxel's last features look like those of the tumour, the healthy surroundings of the tumour (M), and the healthy voxels that
look most like it with their surroundings (N).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_breastseg.case import BACKGROUND, TUMOUR, Box, Case, slices
from napari_breastseg.errors import InputError
from napari_breastseg.inference.grids import Grid, Region, plan_grids
from napari_breastseg.inference.hard_negatives import HardNegative, list_hard_negatives
from napari_breastseg.inference.own_maps import own_maps
from napari_breastseg.inference.predicted_clusters import CLUSTERS, predicted_clusters
from napari_breastseg.inference.runner import Runner
from napari_breastseg.inference.windows import Canvas, Map
from napari_breastseg.losses.frloss import FRLoss, hardest_voxels, similarity
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.hcnet import HCNet
from napari_breastseg.preprocess.breast_region import breast_region
from napari_breastseg.preprocess.overview import Overview
from napari_breastseg.preprocess.resample import resample
from napari_breastseg.progress import Job, Progress

SIMILARITY, BOUNDARY, NEGATIVE, HARDEST = (f"frloss-{what}" for what in ("similarity", "boundary", "negative", "hardest"))
"""Names of the maps."""
KEPT = 8
"""Windows whose features are kept from the first pass to the second (32 features of 64 voxels cubed are 34 MB); others run twice."""
NONE = np.float32(-2)
"""Score of voxels that are not chosen; no cosine has it."""
FAINT = 1e-3
"""A window holds tumour if a voxel of the working grid is tumour by more than this part; resampling leaves fainter traces all around."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Explanation:
    """The maps of one case on its own grid, and what the hardest negatives are.

    Attributes
    ----------
    maps : mapping of str to ndarray, shape (z, y, x)
        "frloss-similarity": cosine to the tumour's centre, float32 from -1 to 1, 0 where the model does not look.
        "frloss-boundary": M, uint8: 1 in healthy voxels within T1 of the tumour.
        "frloss-negative": N, uint8: 1 in healthy voxels within T2 of the hardest ones.
        "frloss-hardest": the hardest voxels themselves, uint8: the number of their row.
        "clusters-predicted": of HCNet only, the cluster of curves that it expects before contrast, uint8.
        "sfeb-effect": of HA-Net only, by how much SFEB raises the probability, float32 from -1 to 1.
        "boundary-attention": of BReMS-Net only, the mean of BFA's gates, float32 from 0 to 1.
    rows : sequence of HardNegative
        The components of the hardest voxels, the largest first.
    details : mapping
        JSON-ready: device, seconds, windows, T1, T2 and N, the voxels of the foreground.
    """

    maps: Mapping[str, npt.NDArray[Any]]
    rows: Sequence[HardNegative]
    details: Mapping[str, Any]


def explain(
    case: Case,
    model: Model,
    foreground: npt.NDArray[np.uint8],
    *,
    device: str = "auto",
    region: Region = "breast",
    settings: FRLoss = FRLoss(),  # noqa: B008 (frozen)
) -> Job[Explanation]:
    """Compare every voxel with the tumour, as FRLoss does in training.

    The windows are those of a prediction; the windows that hold tumour are looked at first, for its centre. Centre and choice of the N
    hardest voxels are pooled over the case as over a batch in training. N, T1 and T2 count voxels of the model's working grid; M and N are
    drawn on the case's own grid, so that they do not end where one breast's box does.

    Parameters
    ----------
    case : Case
    model : Model
    foreground : ndarray, shape (z, y, x)
        The mask that is shown: 1 tumour, 0 healthy; anything else takes part in nothing.
    device : str
        "auto", "cpu", "cuda" or "mps".
    region : str
        "breast" looks at one box per breast, "full" at the whole field of view.
    settings : FRLoss
        T1, T2 and N.

    Raises
    ------
    InputError
        If the foreground is on another grid, empty, or wholly outside of what the model looks at; or the case lacks what the model needs.
    ComputeError
        If the device is missing or memory does not suffice.
    """
    started = time.perf_counter()
    tumour = np.asarray(foreground) == TUMOUR
    if tumour.shape != case.shape:
        raise InputError(f"The tumour mask has the shape {tumour.shape}, {case.name} {case.shape}. Give a mask of this case.")
    if not tumour.any():
        raise InputError("There is no tumour to compare with. Predict first, or mark some tumour yourself.")
    yield Progress(0, 1, "Preparing the images")
    plan, place = plan_grids(case, model.preset, region)
    owner = _owner([grid.box for grid in plan], case.shape)
    healthy = (np.asarray(foreground) == BACKGROUND) & place.inside & (owner >= 0)
    parts = [_Part(grid, tumour & (owner == index), healthy & (owner == index)) for index, grid in enumerate(plan)]
    runner = Runner(model, device)
    yield from _compare(parts, runner)
    shown, scores = _on_case(parts, owner, settings.hardest)
    shown = np.clip(shown * place.inside, -1, 1)
    hardest = (scores != NONE) & healthy
    shown[hardest] = scores[hardest]  # as they were compared, not softened by resampling
    anatomy = place if region == "breast" or case.flat else breast_region(Overview.of(case))
    rows, numbers = yield from list_hard_negatives(case, tumour, hardest, scores, anatomy)
    step = np.array(model.preset.grid_spacing(case)) / case.geometry.spacing
    maps: dict[str, npt.NDArray[Any]] = {
        SIMILARITY: shown,
        BOUNDARY: (_grow(tumour, settings.boundary_reach * step) & healthy).astype(np.uint8),
        NEGATIVE: (_grow(hardest, settings.negative_reach * step) & healthy).astype(np.uint8),
        HARDEST: numbers,
    }
    if isinstance(runner.network, HCNet):
        maps[CLUSTERS] = yield from predicted_clusters(case, plan, runner)
    maps |= yield from own_maps(case, plan, runner)
    details = {
        "device": runner.device.type,
        "seconds": round(time.perf_counter() - started, 2),
        "windows": sum(len(part.grid.windows) for part in parts),
        "region": region,
        "boundary_reach": settings.boundary_reach,
        "negative_reach": settings.negative_reach,
        "hardest": settings.hardest,
        "foreground_voxels": int(tumour.sum()),
        "memory_steps": runner.steps,
    }
    return Explanation(maps, rows, details)


class _Part:
    """One grid: which of its voxels are tumour or may be chosen as hardest, and the similarity as it comes in."""

    def __init__(self, grid: Grid, tumour: Mask, eligible: Mask) -> None:
        self.grid = grid
        place = slices(grid.box)
        self.tumour, self.eligible = resample(np.stack([tumour[place], eligible[place]]).astype(np.float32), grid.shape)
        self.similar: Map = np.zeros(grid.shape, np.float32)
        self._canvas = Canvas(grid.shape, grid.windows)
        self._weight = np.zeros(grid.shape, np.float32)
        for window in grid.windows:
            self._weight[slices(window)] += self._canvas.importance(window)

    def share(self, window: Box) -> Map:
        """How much of the result this window says in each of its voxels."""
        share: Map = self._canvas.importance(window) / self._weight[slices(window)]
        return share


def _compare(parts: Sequence[_Part], runner: Runner) -> Job[None]:
    """Fill in the similarity: first the windows with tumour give its centre (eq. 3), then every window is compared with it (eq. 4).

    A voxel of the working grid counts by the part of it that is tumour, and a window by its share in the blended result.
    """
    windows = [(part, window) for part in parts for window in part.grid.windows]
    holding = [index for index, (part, window) in enumerate(windows) if part.tumour[slices(window)].max() > FAINT]
    if not holding:
        raise InputError("The marked tumour lies outside of the breasts, where the model does not look. Mark tumour in a breast.")
    total = len(holding) + len(windows)
    kept: dict[int, Tensor] = {}
    centre, volume = torch.zeros(()), 0.0
    for done, index in enumerate(holding, 1):
        part, window = windows[index]
        features = runner.features(part.grid.window(window))
        weight = torch.from_numpy(part.tumour[slices(window)] * part.share(window))
        centre, volume = centre + torch.einsum("czyx,zyx->c", features, weight), volume + float(weight.sum())
        if len(kept) < KEPT:
            kept[index] = features
        yield Progress(done, total, "Looking at the tumour")
    for done, (index, (part, window)) in enumerate(enumerate(windows), len(holding) + 1):
        features = kept.pop(index) if index in kept else runner.features(part.grid.window(window))
        part.similar[slices(window)] += part.share(window) * similarity(features[None], centre / volume)[0].numpy()
        yield Progress(done, total, "Comparing with healthy tissue")


def _choose(parts: Sequence[_Part], count: int) -> list[Mask]:
    """Choose the hardest voxels of the whole case (eq. 7); return them for each of its grids."""
    similar, healthy = (torch.from_numpy(np.concatenate([values.ravel() for values in found])) for found in (
        [part.similar for part in parts], [part.eligible > 0.5 for part in parts],
    ))  # fmt: skip
    chosen = hardest_voxels(similar, healthy, count).numpy()
    ends = np.cumsum([part.similar.size for part in parts])[:-1]
    return [values.reshape(part.grid.shape) for values, part in zip(np.split(chosen, ends), parts, strict=True)]


def _on_case(parts: Sequence[_Part], owner: npt.NDArray[np.int8], count: int) -> tuple[Map, Map]:
    """Bring the similarity to the case's grid, and the scores of the hardest voxels, :data:`NONE` elsewhere; each box where it speaks."""
    shown = np.zeros(owner.shape, np.float32)
    scores = np.full(owner.shape, NONE, np.float32)
    for index, (part, hard) in enumerate(zip(parts, _choose(parts, count), strict=True)):
        box = slices(part.grid.box)
        mine = owner[box] == index
        shown[box][mine] = part.grid.to_case(part.similar)[mine]
        scores[box][mine] = _enlarge(np.where(hard, part.similar, NONE), mine.shape)[mine]
    return shown, scores


def _owner(boxes: Sequence[Box], shape: tuple[int, int, int]) -> npt.NDArray[np.int8]:
    """Say for each voxel which box speaks for it: where boxes overlap, the one in whose x range it lies deeper; -1 in none."""
    owner = np.full(shape, -1, np.int8)
    deepest = np.zeros(shape, np.int32)
    for index, box in enumerate(boxes):
        (low, high), place = box[2], slices(box)
        x = np.arange(low, high)
        depth = np.minimum(x - low, high - 1 - x) + 1
        deeper = depth > deepest[place]
        owner[place][deeper] = index
        np.maximum(deepest[place], depth, out=deepest[place])
    return owner


def _enlarge(scores: Map, shape: Sequence[int]) -> Map:
    """Bring the scores of chosen voxels to another grid over the same box, as they are; none gets lost on a coarser one."""
    sizes = np.array(shape) / np.array(scores.shape)
    part: Map = scores[np.ix_(*(((np.arange(n) + 0.5) / s).astype(int) for n, s in zip(shape, sizes, strict=True)))]
    chosen = np.argwhere(scores != NONE)
    part[tuple(((chosen + 0.5) * sizes).astype(int).T)] = scores[tuple(chosen.T)]
    return part


def _grow(mask: Mask, reach: npt.NDArray[np.float64]) -> Mask:
    """Dilate by a box that reaches so many voxels along each axis."""
    grown: Mask = ndimage.maximum_filter(mask, tuple(1 + 2 * round(r) for r in reach), mode="constant")
    return grown
