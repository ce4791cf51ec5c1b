"""FRLoss's maps of a case, against the same equations on the whole volume with a network that needs no context."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.inference import explain
from napari_breastseg.inference.runner import Runner
from napari_breastseg.losses.frloss import FRLoss, Regions, foreground_centre, regions, similarity
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.phantom import make_phantom
from napari_breastseg.preprocess.breast_region import breast_region
from napari_breastseg.preprocess.overview import Overview
from napari_breastseg.progress import run

Read = Callable[[Case], npt.NDArray[np.float32]]

SETTINGS = FRLoss(boundary_reach=4, negative_reach=3, hardest=120)


class Pointwise(SegmentationNetwork):
    """Sees one voxel at a time, so neither windows nor blending can matter."""

    decoding = ("last", "head")

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first, self.last, self.head = nn.Conv3d(2, 6, 1), nn.Conv3d(6, 5, 1), nn.Conv3d(5, 2, 1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def encode(self, x: Tensor) -> list[Tensor]:
        return [torch.tanh(self.first(x))]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        return self.features(encoded, size)[1]

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        features = self.last(encoded[0])
        return features, self.head(features)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(Model, "network", lambda self, device="cpu": Pointwise())
    return Model(get_preset("hcma-unet/practical"), {}, {"preset": "hcma-unet/practical"}, "0" * 64, Path("none"))


def phantom(seed: int, shape: tuple[int, int, int], spacing: float = 1.5) -> tuple[Case, npt.NDArray[np.uint8]]:
    """A phantom whose voxels are taken to be as large as those of the working grid."""
    made = make_phantom(seed, shape, phases=2, lesions=1, diameter=25.0)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    return replace(made.case, geometry=Geometry((spacing,) * 3, affine, shape[::-1])), made.tumour


@pytest.fixture(scope="module")
def one_breast() -> tuple[Case, npt.NDArray[np.uint8]]:
    return phantom(21, (40, 100, 90))


@pytest.fixture(scope="module")
def two_breasts() -> tuple[Case, npt.NDArray[np.uint8]]:
    return phantom(22, (40, 128, 128))


def direct(
    image: npt.NDArray[np.float32], model: Model, tumour: npt.NDArray[np.bool_], healthy: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], Regions]:
    """The equations on the whole volume at once."""
    x = torch.from_numpy(image)[None]
    with torch.inference_mode():
        network = model.network()
        features = network.features(network.encode(x), image.shape[1:])[0]
        marked, rest = (torch.from_numpy(mask)[None] for mask in (tumour, healthy))
        similar = similarity(features, foreground_centre(features, marked))
        return similar[0].numpy(), regions(similar, marked, rest, SETTINGS)


def test_windows_do_not_matter_to_a_network_without_context(
    one_breast: tuple[Case, npt.NDArray[np.uint8]], model: Model, read_whole: Read
) -> None:
    case, tumour = one_breast
    result = run(explain(case, model, tumour, device="cpu", region="full", settings=SETTINGS))
    assert result.details["windows"] > 2
    similar, region = direct(read_whole(case), model, tumour == 1, tumour == 0)
    np.testing.assert_allclose(result.maps["frloss-similarity"], similar, atol=1e-5)
    for name, expected in (("hardest", region.hardest), ("boundary", region.boundary), ("negative", region.negative)):
        np.testing.assert_array_equal(result.maps[f"frloss-{name}"] > 0, expected[0].numpy(), err_msg=name)
    assert sum(row.volume_ml for row in result.rows) == pytest.approx(120 * case.geometry.voxel_ml)
    assert result.rows[0].similarity == pytest.approx(float(similar[result.maps["frloss-hardest"] == 1].mean()), abs=1e-5)


@pytest.mark.parametrize("both_boxes", [False, True])
def test_two_breasts_share_one_choice_and_their_regions_do_not_end_at_a_box(
    two_breasts: tuple[Case, npt.NDArray[np.uint8]], model: Model, both_boxes: bool, read_whole: Read
) -> None:
    case, tumour = two_breasts
    if both_boxes:  # more tumour where the boxes of the breasts overlap: each of its voxels counts once
        found = breast_region(Overview.of(case))
        low, high = found.boxes[1][2][0], found.boxes[0][2][1]
        deep = int(found.inside[:, (low + high) // 2].sum())
        tumour = tumour.copy()
        tumour[10:30, deep - 10 : deep, low : high - 2] = 1
    result = run(explain(case, model, tumour, device="cpu", settings=SETTINGS))
    shown = result.maps["frloss-similarity"]
    looked_at = shown != 0
    similar, region = direct(read_whole(case), model, tumour == 1, (tumour == 0) & looked_at)
    assert 0.2 < looked_at.mean() < 0.9
    np.testing.assert_allclose(shown[looked_at], similar[looked_at], atol=1e-5)
    for name, expected in (("hardest", region.hardest), ("boundary", region.boundary), ("negative", region.negative)):
        np.testing.assert_array_equal(result.maps[f"frloss-{name}"] > 0, expected[0].numpy(), err_msg=name)


@pytest.mark.parametrize("spacing", [0.8, 3.1])
def test_on_other_grids_nothing_that_was_chosen_gets_lost(
    one_breast: tuple[Case, npt.NDArray[np.uint8]], model: Model, spacing: float
) -> None:
    case, tumour = one_breast
    cut = tuple(slice(n // 4, -n // 4) for n in case.shape)
    geometry = Geometry((spacing,) * 3, case.geometry.affine, case.geometry.original_shape)
    small = replace(case, images=case.images[(slice(None), *cut)], geometry=geometry)
    foreground = tumour[cut]
    result = run(explain(small, model, foreground, device="cpu", region="full", settings=replace(SETTINGS, hardest=9)))
    hardest, shown = result.maps["frloss-hardest"] > 0, result.maps["frloss-similarity"]
    assert 1 <= hardest.sum() <= 9 * np.ceil(1.5 / spacing + 1) ** 3
    assert not (hardest & (foreground == 1)).any()
    assert shown[hardest].mean() > np.percentile(shown[foreground == 0], 99)
    reach = np.argwhere(result.maps["frloss-boundary"] > 0).max(axis=0) - np.argwhere(foreground == 1).max(axis=0)
    assert reach.max() <= round(4 * 1.5 / spacing)
    assert shown[foreground == 1].mean() > shown[foreground == 0].mean()


def test_undecided_voxels_take_part_in_nothing(one_breast: tuple[Case, npt.NDArray[np.uint8]], model: Model, read_whole: Read) -> None:
    case, tumour = one_breast
    half = tumour.copy()
    half[:, :, :45][tumour[:, :, :45] == 0] = 255
    result = run(explain(case, model, half, device="cpu", region="full", settings=SETTINGS))
    similar, region = direct(read_whole(case), model, half == 1, half == 0)
    np.testing.assert_array_equal(result.maps["frloss-hardest"] > 0, region.hardest[0].numpy())
    assert not any((result.maps[f"frloss-{name}"][half == 255] > 0).any() for name in ("hardest", "boundary", "negative"))
    np.testing.assert_allclose(result.maps["frloss-similarity"], similar, atol=1e-5)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each window whose features were computed."""
    counted: list[int] = []
    whole: Callable[..., Tensor] = Runner.features
    monkeypatch.setattr(Runner, "features", lambda self, channels: counted.append(1) or whole(self, channels))
    return counted


def test_windows_with_tumour_come_first_and_run_once_while_there_is_room(
    one_breast: tuple[Case, npt.NDArray[np.uint8]], model: Model, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, tumour = one_breast
    result = run(explain(case, model, tumour, device="cpu", region="full", settings=SETTINGS))
    windows = result.details["windows"]
    assert len(runs) == windows
    monkeypatch.setattr(sys.modules[explain.__module__], "KEPT", 0)
    runs.clear()
    again = run(explain(case, model, tumour, device="cpu", region="full", settings=SETTINGS))
    assert windows < len(runs) <= 2 * windows
    for name, values in result.maps.items():
        np.testing.assert_array_equal(values, again.maps[name])


def test_cancelling_stops_at_the_next_window(one_breast: tuple[Case, npt.NDArray[np.uint8]], model: Model, runs: list[int]) -> None:
    case, tumour = one_breast
    job = explain(case, model, tumour, device="cpu", region="full")
    while next(job).step < 1:
        pass
    job.close()
    assert len(runs) == 1


def test_what_cannot_be_explained_is_said_so(two_breasts: tuple[Case, npt.NDArray[np.uint8]], model: Model) -> None:
    case, tumour = two_breasts
    with pytest.raises(InputError, match="Predict first, or mark"):
        run(explain(case, model, np.zeros_like(tumour), device="cpu"))
    with pytest.raises(InputError, match="mask of this case"):
        run(explain(case, model, tumour[1:], device="cpu"))
    behind = np.zeros_like(tumour)
    behind[:, -2:] = 1
    with pytest.raises(InputError, match="outside of the breasts"):
        run(explain(case, model, behind, device="cpu"))
    with pytest.raises(InputError, match="made for dce-mri"):
        run(explain(replace(case, modality="ultrasound"), model, tumour, device="cpu"))


def test_too_little_memory_is_said_in_words(
    one_breast: tuple[Case, npt.NDArray[np.uint8]], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Pointwise, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        raise torch.OutOfMemoryError("too large")

    case, tumour = one_breast
    monkeypatch.setattr(Pointwise, "features", full)
    with pytest.raises(ComputeError, match="too little memory"):
        run(explain(case, model, tumour, device="cpu"))
