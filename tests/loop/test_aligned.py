"""An aligned case stands beside its original: corrections come along, teach once, and nothing of the original changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_breastseg.case import UNDECIDED, Case
from napari_breastseg.errors import InputError
from napari_breastseg.loop import aligned as module
from napari_breastseg.loop.aligned import align_in, superseded, with_motion
from napari_breastseg.loop.sides import Sides
from napari_breastseg.phantom import make_phantom
from napari_breastseg.preprocess.alignment import Aligned, AlignedPhase
from napari_breastseg.preprocess.motion import PhaseMotion
from napari_breastseg.progress import run
from napari_breastseg.session import Edit, Session


def corrected(session: Session) -> tuple[str, Case]:
    case = make_phantom(1, (16, 20, 20), phases=3).case
    case_id = session.add_case(case)
    for z in (3, 9):
        values = np.full((1, 2, 3), z == 3, np.uint8)
        session.record(case_id, Edit(((z, z + 1), (4, 6), (5, 8)), np.ones((1, 2, 3), bool), values, "paint", session.seq(case_id)))
    return case_id, case


@pytest.mark.usefixtures("aligning")
def test_the_original_stays_and_the_corrections_come_along(session: Session) -> None:
    case_id, case = corrected(session)
    before = session.annotation(case_id)
    made = run(align_in(session, case_id))
    assert session.cases == [case_id, made]
    np.testing.assert_array_equal(session.case(case_id).images[:], case.images)
    np.testing.assert_array_equal(session.case(made).images[0], np.roll(case.images[0], 1, axis=1))
    np.testing.assert_array_equal(session.case(made).images[1:], case.images[1:])
    np.testing.assert_array_equal(session.annotation(made), before)
    np.testing.assert_array_equal(session.annotation(case_id), before)
    assert session.case(made).name == f"{case.name} (aligned)"
    said = session.metadata(made)
    assert said["aligned_from"] == case_id and said["aligned"] == {"kind": "deformable"}
    assert "from 1.5 mm (up to 2.5 mm) to 0.2 mm (up to 0.4 mm)" in said["motion"]["words"]


@pytest.mark.usefixtures("aligning")
def test_what_was_said_teaches_once_and_is_no_test(session: Session) -> None:
    case_id, _ = corrected(session)
    assert [one.case_id for one in Sides(session).all()] == [case_id]
    made = run(align_in(session, case_id))
    assert superseded(session) == {case_id}
    (found,) = Sides(session).all()
    assert found.case_id == made
    np.testing.assert_array_equal(found.learn, session.annotation(made))
    assert (found.held_out == UNDECIDED).all()


@pytest.mark.usefixtures("aligning")
def test_aligning_twice_gives_the_same_case_and_no_second_edit(session: Session) -> None:
    case_id, _ = corrected(session)
    made = run(align_in(session, case_id))
    assert run(align_in(session, case_id)) == made
    assert session.seq(made) == 1 and len(session.cases) == 2


def test_a_case_whose_phases_lie_over_each_other_is_not_doubled(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    case_id, _ = corrected(session)
    near = PhaseMotion(0, 0.2, 0.4, 0.15, 0.3, 41, 1)

    def align(case: Case, kind: str) -> Any:
        return Aligned(case, 1, (AlignedPhase(0, "unchanged", "It lies near enough.", near, near),))
        yield

    monkeypatch.setattr(module, "align", align)
    with pytest.raises(InputError, match="Nothing was changed"):
        run(align_in(session, case_id))
    assert session.cases == [case_id]


def test_the_motion_check_is_kept_with_the_case_and_hinders_nothing(session: Session) -> None:
    case = make_phantom(3, (48, 64, 64), phases=3).case
    checked = run(with_motion(case))
    case_id = session.add_case(checked)
    said = session.metadata(case_id)["motion"]
    assert "mm" in said["words"] and {phase["phase"] for phase in said["phases"]} == {0, 2}
    assert session.add_case(case) == case_id  # the same examination, checked or not
    for odd in (Case("one", case.images[:1], case.geometry), replace(case, images=np.ones_like(case.images))):
        assert run(with_motion(odd)) is odd
