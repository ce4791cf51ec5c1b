"""Refining with strokes: what it finds, what it must leave alone, and its evidence against scipy's."""

from __future__ import annotations

import sys
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage, stats

from napari_breastseg.case import REFINED_WITH, UNDECIDED, Case, Geometry, Modality, Prediction, overlay
from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.metrics import dice
from napari_breastseg.inference import refine
from napari_breastseg.inference.predict import clean_mask
from napari_breastseg.inference.refine import GROWTH, SHRINK, log_likelihood_ratio
from napari_breastseg.progress import run

SHAPE, SPACING = (20, 60, 60), (3.0, 1.5, 1.5)
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]


def ball(z: float, y: float, x: float, radius: float) -> Mask:
    """Voxels within so many mm of a place in voxels."""
    places = np.moveaxis(np.indices(SHAPE), 0, -1)
    found: Mask = np.sqrt((((places - (z, y, x)) * SPACING) ** 2).sum(-1)) < radius
    return found


TUMOUR, OTHER = ball(10, 20, 20, 14), ball(10, 45, 45, 9)
"""Two that enhance alike, more than GROWTH apart."""


def case(enhancing: Mask, modality: Modality = "dce-mri") -> Case:
    """Noise of 30, and 100 more after contrast where it enhances."""
    images = np.random.default_rng(0).normal(200, 30, (2, *enhancing.shape)).astype(np.float32)
    images[1][enhancing] += 100
    return Case("balls", images, Geometry(SPACING, np.eye(4), enhancing.shape[::-1]), modality=modality)


def said(mask: Mask) -> Prediction:
    return Prediction("a model", np.where(mask, 0.9, 0.05).astype(np.float32), mask.astype(np.uint8), mask.astype(np.uint8))


def strokes(painted: Mask | None = None, erased: Mask | None = None, shape: tuple[int, ...] = SHAPE) -> Labels:
    annotation = np.full(shape, UNDECIDED, np.uint8)
    if painted is not None:
        annotation[painted] = 1
    if erased is not None:
        annotation[erased] = 0
    return annotation


def in_slice(mask: Mask, z: int) -> Mask:
    one = np.zeros_like(mask)
    one[z] = mask[z]
    return one


def refined(of: Case, before: Prediction, annotation: Labels) -> Mask:
    """The mask that is shown."""
    return overlay(run(refine(of, before, annotation)).refined, annotation) == 1


def test_a_stroke_in_one_slice_finds_the_tumour_in_all() -> None:
    images, before = case(TUMOUR | OTHER), said(OTHER)
    annotation = strokes(in_slice(ndimage.binary_erosion(TUMOUR), 10))
    result = run(refine(images, before, annotation))
    shown = overlay(result.refined, annotation) == 1
    assert dice(overlay(before.refined, annotation) == 1, TUMOUR | OTHER) < 0.5
    assert dice(shown, TUMOUR | OTHER) > 0.9
    assert (shown[OTHER] == 1).all(), "the other one, which nobody touched, stays"
    assert result.model == before.model and result.details["engine"] == "random walk"
    told = {"tumour_voxels": int((annotation == 1).sum()), "erased_voxels": 0, "sha256": sha256(annotation.tobytes()).hexdigest()}
    assert result.details[REFINED_WITH] == told
    far = ndimage.distance_transform_edt(annotation != 1, sampling=SPACING) > GROWTH
    np.testing.assert_array_equal(np.asarray(result.probability)[far], np.asarray(before.probability)[far])
    assert before.refined.sum() == OTHER.sum() and (before.probability <= np.float32(0.9)).all(), "what came in stays as it was"


def test_strokes_in_several_slices_count_together() -> None:
    """A dab on the rim shows little of how tumour looks; beside it the other strokes must not count as healthy tissue."""
    images, before = case(TUMOUR), said(np.zeros(SHAPE, bool))
    rim = in_slice(TUMOUR & ~ndimage.binary_erosion(TUMOUR), 13)
    first = in_slice(ndimage.binary_erosion(TUMOUR, iterations=2), 10)
    both = refined(images, before, strokes(first | rim))
    assert dice(both, TUMOUR) > 0.93
    assert (both >= refined(images, before, strokes(first)) & ball(10, 20, 20, 11)).all()


def test_two_tumours_are_found_from_a_stroke_each() -> None:
    """They lie too far apart for one random walk, and enhance differently."""
    shape = (8, 90, 90)
    places = np.moveaxis(np.indices(shape), 0, -1) * SPACING
    left, right = (np.linalg.norm(places - at, axis=-1) < 9 for at in ((12, 20, 20), (12, 110, 110)))
    images = np.random.default_rng(0).normal(200, 30, (2, *shape)).astype(np.float32)
    images[1][left] += 100
    images[1][right] += 200
    of = Case("two", images, Geometry(SPACING, np.eye(4), shape[::-1]))
    annotation = strokes(in_slice(ndimage.binary_erosion(left | right), 4), shape=shape)
    assert dice(refined(of, said(np.zeros(shape, bool)), annotation), left | right) > 0.9


def test_tumour_grows_no_farther_than_its_reach() -> None:
    bar = np.zeros(SHAPE, bool)
    bar[7:13, 26:36, 2:58] = True
    painted = np.zeros(SHAPE, bool)
    painted[10, 27:35, 4:9] = True
    shown = refined(case(bar), said(np.zeros(SHAPE, bool)), strokes(painted))
    reached = np.flatnonzero(shown.any((0, 1))).max()
    assert 8 + 0.4 * GROWTH / 1.5 < reached <= 8 + GROWTH / 1.5


def test_a_false_alarm_that_was_erased_in_a_slice_goes_in_all_and_no_other_does() -> None:
    shown = refined(case(TUMOUR | OTHER), said(TUMOUR | OTHER), strokes(erased=in_slice(ball(10, 45, 45, 9), 10)))
    assert not shown[OTHER].any() and shown[TUMOUR].all()


EDGES = {
    "a strip": (slice(10, 11), slice(12, 28), slice(11, 15)),
    "the last slice": (slice(14, 15), slice(None), slice(None)),
    "the first two slices": (slice(0, 8), slice(None), slice(None)),
    "a cap along y": (slice(None), slice(0, 14), slice(None)),
    "a cap along x": (slice(None), slice(None), slice(26, None)),
}


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_trimming_an_edge_takes_away_no_more_than_the_stroke(edge: tuple[slice, ...]) -> None:
    trimmed = np.zeros(SHAPE, bool)
    trimmed[edge] = TUMOUR[edge]
    assert 0 < trimmed.sum() < 0.4 * TUMOUR.sum()
    shown = refined(case(TUMOUR), said(TUMOUR), strokes(erased=trimmed))
    assert (shown == (TUMOUR & ~trimmed)).all()


def test_what_an_erasing_stroke_took_does_not_grow_back_from_its_neighbour() -> None:
    near = ball(10, 20, 36, 8)
    images, before = case(TUMOUR | near), said(near)
    annotation = strokes(in_slice(ndimage.binary_erosion(TUMOUR), 10), in_slice(near, 10))
    mask = run(refine(images, before, annotation)).refined == 1
    assert not mask[near].any() and mask[ndimage.binary_erosion(TUMOUR, iterations=2)].all()


def test_healthy_tissue_that_was_erased_in_a_slice_leaves_the_tumour_beside_it() -> None:
    too_far = TUMOUR.copy()
    too_far[13:18] = TUMOUR[10]
    shown = refined(case(TUMOUR), said(too_far), strokes(erased=in_slice(too_far, 17)))
    assert shown[TUMOUR].all()
    assert dice(shown, TUMOUR) > 0.95 and dice(too_far & ~in_slice(too_far, 17), TUMOUR) < 0.8


@pytest.mark.parametrize("seed", range(4))
def test_painting_only_adds_and_erasing_only_takes_away(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, blobs = (ndimage.gaussian_filter(rng.normal(size=SHAPE), 2) > 0.05 for _ in range(2))
    stroke = in_slice(blobs, 9)
    images, before = case(TUMOUR | OTHER), said(mask)
    assert (refined(images, before, strokes(stroke)) >= (without_crumbs(before) | stroke)).all()
    assert (refined(images, before, strokes(erased=stroke)) <= mask & ~stroke).all()


def without_crumbs(before: Prediction) -> Mask:
    """The mask without what is too small for any prediction to show."""
    return clean_mask(before.refined == 1, float(np.prod(SPACING)) / 1000) == 1


def test_tumour_does_not_grow_through_what_was_erased() -> None:
    wall = np.zeros(SHAPE, bool)
    wall[:, :, 22:24] = True
    annotation = strokes(in_slice(ball(10, 20, 15, 5), 10), wall)
    mask = run(refine(case(TUMOUR), said(np.zeros(SHAPE, bool)), annotation)).refined == 1
    assert mask[10, 20, 13:20].all() and not mask[:, :, 22:].any()


def test_one_channel_is_enough() -> None:
    images = case(TUMOUR).images[1:]
    scan = Case("scan", images, Geometry(SPACING, np.eye(4), SHAPE[::-1]), modality="mri")
    assert dice(refined(scan, said(np.zeros(SHAPE, bool)), strokes(in_slice(ball(10, 20, 20, 9), 10))), TUMOUR) > 0.9


def test_a_single_image_is_painted_not_refined() -> None:
    flat = Case("flat", np.zeros((1, 1, 60, 60), np.float32), Geometry(SPACING, np.eye(4), (60, 60, 1)), modality="ultrasound")
    disc = TUMOUR[10:11]
    with pytest.raises(InputError, match="single image. Paint"):
        refined(flat, said(disc), strokes(disc, shape=disc.shape))


def test_a_dab_of_one_voxel_does_no_harm() -> None:
    dab = np.zeros(SHAPE, bool)
    dab[10, 20, 20] = True
    shown = refined(case(TUMOUR), said(OTHER), strokes(dab))
    assert (shown & ~TUMOUR & ~OTHER).sum() < 0.1 * TUMOUR.sum() and shown[OTHER].all()
    assert (refined(case(TUMOUR), said(TUMOUR), strokes(erased=dab)) == (TUMOUR & ~dab)).all()


def test_where_all_is_alike_nothing_grows() -> None:
    flat = Case("flat", np.zeros((2, *SHAPE), np.float32), Geometry(SPACING, np.eye(4), SHAPE[::-1]))
    stroke = in_slice(ball(10, 20, 20, 8), 10)
    nothing = Prediction("a model", np.full(SHAPE, 0.01, np.float32), np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8))
    assert (refined(flat, nothing, strokes(stroke)) == stroke).all()


def test_images_that_are_no_numbers_are_refused() -> None:
    images = case(TUMOUR)
    images.images[1, 9, 20, 20] = np.nan
    with pytest.raises(InputError, match="no numbers"):
        run(refine(images, said(OTHER), strokes(in_slice(TUMOUR, 10))))


def test_a_part_that_is_too_large_for_a_walk_is_settled_by_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    images, annotation = case(TUMOUR), strokes(in_slice(ndimage.binary_erosion(TUMOUR), 10))
    monkeypatch.setattr(sys.modules["napari_breastseg.inference.refine"], "MOST_VOXELS", 100)
    assert dice(refined(images, said(OTHER), annotation) & ~OTHER, TUMOUR) > 0.8


def test_without_strokes_it_says_what_to_do() -> None:
    with pytest.raises(InputError, match="Paint missing tumour"):
        run(refine(case(TUMOUR), said(TUMOUR), strokes()))


def test_the_evidence_is_scipys() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 30, 30, 2)) @ np.array([[2.0, 0.5], [0.0, 1.0]])
    tumour = np.zeros(values.shape[:3], bool)
    tumour[1], values[1] = True, values[1] + (3, -1)
    healthy = np.zeros_like(tumour)
    healthy[2:] = True
    common = np.cov(values[tumour | healthy].T)
    densities = []
    for region in (tumour, healthy):
        sample = values[region]
        away = sample - np.median(sample, 0)
        covariance = (away.T @ away + SHRINK * common) / (len(sample) + SHRINK)
        densities.append(stats.multivariate_normal(np.median(sample, 0), covariance).logpdf(values))
    np.testing.assert_allclose(log_likelihood_ratio(values, tumour, healthy), densities[0] - densities[1], rtol=1e-4, atol=1e-4)
    assert not log_likelihood_ratio(values, tumour, np.zeros_like(tumour)).any()
