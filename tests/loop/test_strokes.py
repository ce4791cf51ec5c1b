"""What was painted becomes strokes: exactly what changed, wherever one looks."""

from __future__ import annotations

import numpy as np
import pytest

from napari_breastseg.case import UNDECIDED, Box, overlay, slices
from napari_breastseg.editing.change import Change
from napari_breastseg.loop.strokes import Painted, PaintedMask, Stroke, box_of_indices

SHAPE = (8, 10, 12)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def painted_mask(rng: np.random.Generator) -> PaintedMask:
    predicted = (rng.random(SHAPE) > 0.7).astype(np.uint8)
    annotation = np.full(SHAPE, UNDECIDED, np.uint8)
    annotation[2, 2:5, 2:5] = 1
    return PaintedMask(overlay(predicted, annotation), predicted, annotation)


def applied(strokes: list[Stroke], mask: np.ndarray) -> np.ndarray:
    result = mask.copy()
    for stroke in strokes:
        result[slices(stroke.box)][stroke.mask] = np.broadcast_to(stroke.value, stroke.mask.shape)[stroke.mask]
    return result


@pytest.mark.parametrize("values", [(1,), (0,), (0, 1)])
def test_a_bounded_look_finds_what_a_look_at_the_whole_finds(rng: np.random.Generator, values: tuple[int, ...]) -> None:
    for _ in range(20):
        here, there = painted_mask(np.random.default_rng(5)), painted_mask(np.random.default_rng(5))
        before = here.painted.copy()
        low = rng.integers(0, np.array(SHAPE) - 1)
        high = rng.integers(low + 1, np.array(SHAPE) + 1)
        box: Box = tuple(zip(low.tolist(), high.tolist(), strict=True))
        new = rng.choice(values, tuple(high - low)).astype(np.uint8)
        here.painted[slices(box)] = there.painted[slices(box)] = new
        bounded, whole = here.take("brush", box).strokes, there.take("brush").strokes
        assert [(s.box, s.value) for s in bounded] == [(s.box, s.value) for s in whole]
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(bounded, whole, strict=True))
        assert np.array_equal(applied(bounded, before), here.painted)
        assert sum(int(s.mask.sum()) for s in bounded) == int((before != here.painted).sum())
        assert np.array_equal(here.annotation[before != here.painted], here.painted[before != here.painted])
        assert np.array_equal(here.annotation, there.annotation)
        assert here.voxels == there.voxels == int(here.painted.sum())
        assert here.take("brush").strokes == []


def test_other_labels_are_taken_back(rng: np.random.Generator) -> None:
    mask = painted_mask(rng)
    before = mask.painted.copy()
    mask.painted[1, 2:4, 2:4] = 7
    assert mask.take("brush", ((1, 2), (2, 4), (2, 4))) == Painted([], True)
    assert np.array_equal(mask.painted, before)
    assert mask.take("brush") == Painted([], False)


def test_what_is_being_painted_and_what_is_on_its_way_outlast_a_change(rng: np.random.Generator) -> None:
    mask = painted_mask(rng)
    mask.painted[0] = 0
    mask.painted[0, 1, 1] = 1
    mask.take("brush")
    mask.painted[0, 5, 5] = 1
    (on_its_way,) = mask.take("brush").strokes
    mask.painted[0, 7, 7] = 1
    box: Box = ((0, 1), (0, 10), (0, 12))
    older = np.full((1, 10, 12), 0, np.uint8)
    mask.follow(box, older, [on_its_way])
    assert (mask.painted[0, 1, 1], mask.painted[0, 5, 5], mask.painted[0, 7, 7]) == (0, 1, 1)
    assert mask.voxels == int(mask.painted.sum()) - 1
    assert (mask.annotation[0, 5, 5], mask.annotation[0, 7, 7]) == (1, 0)
    (stroke,) = mask.take("brush").strokes
    assert (stroke.box, stroke.value) == (((0, 1), (7, 8), (7, 8)), 1)


def test_approval_says_only_what_was_not_said(rng: np.random.Generator) -> None:
    mask = painted_mask(rng)
    shown = mask.painted.copy()
    box: Box = ((2, 3), (0, 10), (0, 12))
    stroke = mask.approve(box, np.ones((1, 10, 12), bool), "slice reviewed")
    assert stroke is not None
    assert not stroke.mask[0, 2:5, 2:5].any()
    assert stroke.mask.sum() == 10 * 12 - 9
    assert np.array_equal(mask.annotation[2], shown[2])
    assert mask.approve(box, np.ones((1, 10, 12), bool), "slice reviewed") is None


def test_boxes_around_indices() -> None:
    cut = (slice(1, 2), slice(3, 5), slice(0, 4))
    points = (np.array([4, 2]), np.array([4, 4]), np.array([7, 9]))
    assert box_of_indices([cut], SHAPE) == ((1, 2), (3, 5), (0, 4))
    assert box_of_indices([cut, points], SHAPE) == ((1, 5), (3, 5), (0, 10))
    for strange in ([], [None], [(slice(1, 2),)], [(slice(None), *cut[1:])], [(np.array([-1]), *points[1:])], [cut, "all"]):
        assert box_of_indices(strange, SHAPE) is None


def test_what_a_tool_found_is_one_stroke_of_both_values(rng: np.random.Generator) -> None:
    mask = painted_mask(rng)
    before = mask.painted.copy()
    box: Box = ((1, 6), (2, 9), (3, 11))
    place = slices(box)
    values = rng.integers(0, 2, before[place].shape).astype(np.uint8)
    stroke = mask.apply(Change(box, rng.random(values.shape) < 0.6, values), "smooth")
    assert stroke is not None
    assert stroke.tool == "smooth"
    assert {0, 1} == set(np.unique(stroke.value[stroke.mask]))
    assert np.array_equal(applied([stroke], before), mask.painted)
    assert not np.array_equal(mask.painted, before)
    assert np.array_equal(mask.annotation[mask.painted != before], mask.painted[mask.painted != before])
    assert mask.voxels == int(mask.painted.sum())
    assert mask.take("brush").strokes == []
    assert mask.apply(Change(box, np.ones(values.shape, bool), mask.painted[place].copy()), "smooth") is None


def test_a_tool_leaves_what_is_being_painted_alone(rng: np.random.Generator) -> None:
    mask = painted_mask(rng)
    box: Box = ((0, 1), (0, 10), (0, 12))
    mask.painted[0] = 0
    mask.take("brush")
    mask.painted[0, 3, 3] = 1
    stroke = mask.apply(Change(box, np.ones((1, 10, 12), bool), np.zeros((1, 10, 12), np.uint8)), "smooth")
    assert stroke is None
    assert mask.painted[0, 3, 3] == 1
    (painted,) = mask.take("brush").strokes
    assert (painted.box, painted.value) == (((0, 1), (3, 4), (3, 4)), 1)
