"""Motion is told when an examination comes in; aligning makes a case of its own and shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import Case
from napari_breastseg.loop import aligned as loop
from napari_breastseg.preprocess.motion import Motion, PhaseMotion
from napari_breastseg.widgets.dock import BreastSegWidget

pytestmark = pytest.mark.qt


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, aligning: tuple[PhaseMotion, PhaseMotion]) -> None:
    """The first phase lies 1.5 mm off, and is shifted by one voxel to mend that."""

    def check(case: Case) -> Any:
        return Motion(1, aligning[:1])
        yield

    monkeypatch.setattr(loop, "motion_check", check)


def test_motion_is_said_with_its_number_and_aligned_at_a_click(dock_with_case: BreastSegWidget, settled: Any, notices: list[str]) -> None:
    dock = dock_with_case
    panel = dock.case.motion
    assert "1.5 mm (up to 2.5 mm)" in panel.words.text() and not panel.align.isHidden()
    session, original = dock.desk.session, dock.desk.case_id
    assert session is not None and original is not None
    before = np.asarray(session.case(original).images[:])
    panel.align.click()
    settled(dock)
    assert notices == [] and dock.desk.case_id != original
    assert dock.desk.view is not None and dock.desk.view.case.name.endswith("(aligned)")
    np.testing.assert_array_equal(np.asarray(dock.desk.view.layer("case").data)[0], np.roll(before[0], 1, axis=1))
    np.testing.assert_array_equal(np.asarray(session.case(original).images[:]), before)
    assert "from 1.5 mm" in panel.words.text() and panel.align.isHidden()
    dock.desk.show_case(original)
    settled(dock)
    assert not panel.align.isHidden() and "1.5 mm (up to 2.5 mm) away" in panel.words.text()


def test_metadata_of_a_stranger_are_shown_as_plain_text_or_not_at_all(dock_with_case: BreastSegWidget, settled: Any) -> None:
    dock = dock_with_case
    view = dock.desk.view
    assert view is not None
    for metadata, expected in (({"motion": {"words": "<b>x</b>"}}, "<b>x</b>"), ({"motion": {"words": 3}}, ""), ({"motion": "x"}, "")):
        view.case = replace(view.case, metadata=metadata)
        dock.case.motion.refresh()
        assert dock.case.motion.words.text() == expected
