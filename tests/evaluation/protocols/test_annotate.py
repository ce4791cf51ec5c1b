from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import UNDECIDED, Geometry, Prediction, slices
from napari_breastseg.evaluation.annotators.clicks import Click
from napari_breastseg.evaluation.annotators.sloppy import Exact, Sloppy
from napari_breastseg.evaluation.protocols.annotate import CAP, Corrected, annotate, corrections_to
from napari_breastseg.progress import Job, Progress, run

CUBE = Geometry((1.0, 1.0, 1.0), np.eye(4), (20, 20, 20))


def showing(mask: np.ndarray) -> Prediction:
    return Prediction("a model", mask.astype(np.float32), mask, mask)


def corrected(*arguments: Any) -> Corrected:
    return run(annotate(*arguments))


class Dictated:
    """Paints one voxel of a row after the other, then says that all is right."""

    def looks(self, truth: np.ndarray, shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return truth.copy()

    def strokes(self, believed: np.ndarray, shown: np.ndarray, geometry: Geometry, rng: np.random.Generator) -> Click | None:
        x = int(shown[0, 0].sum())
        return Click(((0, 1), (0, 1), (x, x + 1)), np.ones((1, 1, 1), bool), 1)


def test_corrections_are_counted_as_by_hand() -> None:
    """Ten voxels of tumour, four found: Dice 8/14, then 10/15, 12/16, 14/17, 16/18 and 18/19 with each voxel more."""
    truth = np.zeros((1, 1, 12), np.uint8)
    truth[..., :10] = 1
    shown = truth.copy()
    shown[..., 4:] = 0
    done = corrected(shown, truth, CUBE, Dictated(), np.random.default_rng(0))
    assert done.dice == pytest.approx([8 / 14, 10 / 15, 12 / 16, 14 / 17, 16 / 18, 18 / 19])
    assert [corrections_to(t, done.dice) for t in (0.5, 0.75, 0.80, 0.85, 0.90, 0.99)] == [0, 2, 3, 4, 5, CAP]
    assert shown.sum() == 4  # what was given stays as it was


def test_a_dice_counts_as_reached_where_it_stays() -> None:
    assert [corrections_to(0.8, trail) for trail in ([0.85], [0.85, 0.7, 0.9], [0.5, 0.8, 0.79, 0.8], [0.9, 0.7])] == [0, 2, 3, CAP]


def test_the_exact_annotator_reaches_its_goal_or_gives_up() -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[4:14, 4:14, 4:14] = 1
    done = corrected(np.zeros_like(truth), truth, CUBE, Exact(), np.random.default_rng(0))
    assert done.dice[0] == 0 and len(done.dice) == len(done.strokes) + 1 <= CAP + 1
    assert all(b > a for a, b in zip(done.dice, done.dice[1:], strict=False))
    assert done.dice[-1] >= 0.9 or len(done.strokes) == CAP
    again = corrected(np.zeros_like(truth), truth, CUBE, Exact(), np.random.default_rng(0))
    assert again.dice == done.dice and all(a.box == b.box for a, b in zip(again.strokes, done.strokes, strict=True))


def test_a_sloppy_annotator_that_never_errs_is_exact() -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[4:14, 4:14, 4:14] = 1
    trails = [
        corrected(np.zeros_like(truth), truth, CUBE, one, np.random.default_rng(3)).dice[1] for one in (Exact(), Sloppy(0.0, 0.0, 0.0))
    ]
    assert trails[0] == trails[1]


def test_sloppy_rates_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    # A hundred separate errors, of which a tenth is overlooked: taken for right.
    truth = np.zeros((40, 40, 40), np.uint8)
    truth[2::4, 2::4, 2::4] = 1
    believed = Sloppy(missed=0.1).looks(truth, np.zeros_like(truth), rng)
    assert truth.sum() == 1000
    assert 70 <= (truth != believed).sum() <= 130
    # A click goes to the middle of the error, but for the jitter; wrong ones lie further away.
    truth = np.zeros((41, 41, 41), np.uint8)
    truth[15:26, 15:26, 15:26] = 1
    shown = np.zeros_like(truth)
    shown[:, :, :8] = 1
    truth[:, :, :8] = 1  # right already; erasing here is a wrong stroke
    steady = Exact().strokes(truth, shown, CUBE, rng)
    assert steady is not None
    middle = np.array([(low + high) / 2 for low, high in steady.box])
    ways, wrong = [], 0
    for _ in range(600):
        believed = truth.copy()
        done = Sloppy(jitter=2.0, wrong=0.1).strokes(believed, shown, CUBE, rng)
        assert done is not None
        way = np.array([(low + high) / 2 for low, high in done.box]) - middle
        aside = np.linalg.norm(way) >= 0.99 * 11  # a wrong one is moved by its diameter or more
        wrong += aside
        if not aside:
            ways.append(way)
        z, y, x = (slice(low, high) for low, high in done.box)
        assert (believed[z, y, x][done.mask] == done.value).all()  # what was painted is taken for right
    assert 0.06 < wrong / 600 < 0.14
    assert np.std(ways, axis=0) == pytest.approx([2.0] * 3, rel=0.15)
    assert np.abs(np.mean(ways, axis=0)).max() < 0.3


def test_wrong_strokes_change_what_is_shown_and_stay() -> None:
    truth = np.zeros((30, 30, 30), np.uint8)
    truth[10:20, 10:20, 10:20] = 1
    shown = truth.copy()
    shown[:, :, 15:] = 0
    done = corrected(shown, truth, CUBE, Sloppy(jitter=0.0, missed=0.0, wrong=1.0), np.random.default_rng(1))
    assert all(one.mask.any() for one in done.strokes)
    assert done.dice[-1] < 0.9 or len(done.strokes) == CAP


def test_every_refinement_is_given_all_strokes_so_far() -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[4:14, 4:14, 4:14] = 1
    given: list[np.ndarray] = []

    def refine(annotation: np.ndarray) -> Job[Prediction]:
        yield Progress(0, 1, "refining")
        given.append(annotation.copy())
        mask = np.zeros_like(truth)
        mask[: 4 + 3 * len(given)] = truth[: 4 + 3 * len(given)]
        return showing(mask)

    done = corrected(np.zeros_like(truth), truth, CUBE, Exact(), np.random.default_rng(0), refine)
    assert len(given) == len(done.strokes) == 3
    so_far = np.full_like(truth, UNDECIDED)
    for annotation, one in zip(given, done.strokes, strict=True):
        so_far[slices(one.box)][one.mask] = one.value
        np.testing.assert_array_equal(annotation, so_far)


def test_a_refined_mask_is_shown_with_the_strokes_laid_over_it() -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[4:14, 4:14, 4:14] = 1
    given: list[np.ndarray] = []

    def refine(annotation: np.ndarray) -> Job[Prediction]:
        yield Progress(0, 1, "refining")
        given.append(annotation.copy())
        mask = truth.copy()
        mask[annotation == 1] = 0  # what was painted counts all the same
        mask[:, :, 13] = 0
        return showing(mask)

    done = corrected(np.zeros_like(truth), truth, CUBE, Exact(), np.random.default_rng(0), refine)
    assert len(done.strokes) == 1 and done.dice[0] == 0
    first = done.strokes[0]
    found = 900 + np.count_nonzero(given[0][:, :, 13] == 1)
    assert done.dice[1] == pytest.approx(2 * found / (found + 1000))
    assert (given[0][slices(first.box)][first.mask] == 1).all() and (given[0] != UNDECIDED).sum() == first.mask.sum()


@pytest.mark.parametrize(("lost", "shown_after", "taken_back"), [(5, 596, 0), (200, 601, 1)])
def test_a_refinement_that_looks_worse_is_taken_back(lost: int, shown_after: int, taken_back: int) -> None:
    """Of a thousand voxels the first refinement finds 600, the second loses some of them again, and the third finds nearly all."""
    truth = np.zeros((1, 1, 1200), np.uint8)
    truth[..., :1000] = 1
    ends = [600, 600 - lost, 950]

    def refine(annotation: np.ndarray) -> Job[Prediction]:
        yield Progress(0, 1, "refining")
        mask = truth.copy()
        mask[..., ends[int((annotation == 1).sum()) - 1] :] = 0
        return showing(mask)

    shown = truth.copy()
    shown[..., 400:] = 0
    done = corrected(shown, truth, CUBE, Dictated(), np.random.default_rng(0), refine)
    assert done.dice == pytest.approx([2 * found / (1000 + found) for found in (400, 600, shown_after, 950)])
    assert done.taken_back == taken_back and done.refined is not None and done.refined.refined.sum() == 950
    assert corrected(shown, truth, CUBE, Exact(), np.random.default_rng(0)).refined is None
