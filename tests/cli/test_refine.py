"""Refining on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from napari_breastseg.case import REFINED_WITH, Case, Prediction, overlay
from napari_breastseg.loop import annotation_loop
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit, Session


@pytest.mark.usefixtures("quick")
def test_a_case_is_refined_and_taken_back(
    cli: Callable[..., Any], phases: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_in_the_slice(case: Case, before: Prediction, annotation: npt.NDArray[np.uint8]) -> Job[Prediction]:
        yield Progress(1, 1, "refining")
        mask = overlay(before.refined, annotation)
        mask[(annotation == 1).any((1, 2))] = 1
        return replace(before, refined=mask, details={**before.details, REFINED_WITH: {"voxels": 1}})

    monkeypatch.setattr(annotation_loop, "refine", all_in_the_slice)
    folder, out = tmp_path / "session", tmp_path / "mask.nii.gz"
    first = cli("predict", phases, "--session", folder, "--model", weights, "--json").answer
    of = ("--session", folder, "--case", first["case_id"][:6])
    with Session.open(folder) as session:
        session.record(first["case_id"], Edit(((1, 2), (3, 4), (3, 4)), np.ones((1, 1, 1), bool), 1, "brush", 0))
        pixels = int(np.prod(session.case(first["case_id"]).shape[1:]))
        known = session.case(first["case_id"])
        other = session.add_case(replace(known, name="another", images=np.stack([known.phase(n) + 1 for n in range(known.phases)])))
    unknown = cli("refine", "--session", folder, "--case", other)
    assert unknown.code == 1 and "Predict it first" in unknown.err
    said = cli("refine", *of, "--out", out, "--json")
    assert said.code == 0 and said.answer["refined_with"] == {"voxels": 1, "instead_of": 1}
    assert said.answer["tumour_voxels"] == np.asarray(nib.load(out).dataobj).sum() >= pixels
    back = cli("refine", *of, "--undo", "--json").answer
    assert back["tumour_voxels"] == first["tumour_voxels"] + 1 and "refined_with" not in back
    assert "mL of tumour" in cli("refine", *of).out
    missing = cli("refine", "--session", folder, "--case", "nobody")
    assert missing.code == 1 and "no case 'nobody'" in missing.err
